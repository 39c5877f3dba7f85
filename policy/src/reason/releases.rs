//! Examples and remedies: what has been released before.

use super::advice::{Advice, Group, entries};

pub(super) const GROUP: Group = Group {
    title: "Releases",
    about: "What has been released before: the [ledger](disclosure.md#the-ledger). Asked only when \
         the body itself may leave.",
    entries: ENTRIES,
};

const ENTRIES: &[Advice] = entries! {
    SdcDifferencing:
        "Last week 120 cases were released for a region and week, now 123: the 3 are told.",
        "Release the earlier figure again, or wait until it has changed by enough people.";
    SdcRevision:
        "The count is the same as last week, its mean is another.",
        "Release the earlier statistic again, or let the contract allow `revisions`.";
    SdcLinkedAudit:
        "A table by age hides a cell, and an earlier one by sex has the total that tells it.",
        "Suppress, in the new table, what the earlier one would tell.";
    SdcAveraging:
        "A noisy count was 412, and is 409 with noise drawn anew: the mean of many tells the \
         truth.",
        "Draw the noise of a figure once, and repeat the figure as it was.";
    SdcEpsilon:
        "Releases of 0.4 and 0.4 have been made, the budget is 1, and another 0.4 is claimed.",
        "Claim a smaller loss, or wait until earlier releases leave the horizon.";
    SdcBudgetReleases:
        "A fourth release within a week, where the contract has `maxReleases` 3.",
        "Wait until an earlier release leaves the window.";
    SdcBudgetBytes:
        "7 KB have been released in the window of 8 KB, and 2 KB more are sent.",
        "Wait until an earlier release leaves the window, or send less.";
    SdcBudgetBits:
        "Each release counts as 266 bits, and the window of 2000 bits has had seven.",
        "Wait until an earlier release leaves the window, or make the contract narrower.";
    SdcBudgetDenied:
        "Within an hour, 20 payloads were refused for what had been released before: figures that \
         were probed by trying.",
        "Wait until the first of the denied attempts is an hour ago, and find out with `lazaret \
         judge --ledger` which payloads may leave.";
    LedgerLimit:
        "A contract without `maxReleases` let so many different figures of the same cells out that \
         a release of 4096 cells has 70 000 to be held against.",
        "Release fewer cells at once, and give the contract `maxReleases` or a shorter horizon.";
    LedgerUnavailable:
        "The disk of the ledger is full, or its database does not answer.",
        "See to the ledger; the payload can be sent again as it is.";
    LedgerClock:
        "The clock of the node was set ahead by a year while the gateway ran.",
        "Set the clock right; if it was wrong before and is right now, start the gateway again.";
};
