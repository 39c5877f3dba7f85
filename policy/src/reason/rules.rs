//! Examples and remedies: disclosure rules.

use super::advice::{Advice, Group, entries};

pub(super) const GROUP: Group = Group {
    title: "Disclosure rules",
    about: "What the body says. [disclosure.md](disclosure.md) explains the rules and where they come \
         from.",
    entries: ENTRIES,
};

const ENTRIES: &[Advice] = entries! {
    SdcCell:
        "`{\"n\": null}`, or `\"412\"` as a text, where the contract has numbers and the marker \
         `\"<10\"`.",
        "Write the number, or one of the markers in `sdcSuppressed`.";
    SdcPointer:
        "A row has `mean` and no `n`, and `sdcContributors` of the contract needs `/n`.",
        "Send the member that the violation names.";
    SdcMinCount:
        r#"`{"n": 3}`, where the contract has `sdcMinCount` with `min` 10."#,
        "Join groups until each has enough people, or suppress the count if the contract has a \
         marker.";
    SdcMarker:
        r#"`"<5"`, where `sdcSuppressed` declares `"<10"`."#,
        "Write a marker exactly as the contract declares it.";
    SdcRound:
        r#"`{"n": 12}`, where `sdcRound` has the base 5."#,
        "Round to the grid of the contract: here 10.";
    SdcPrecision:
        r#"`{"mean": 6.9137}`, where `sdcPrecision` allows 2 decimals."#,
        "Round to the digits that the contract allows: here 6.91.";
    SdcText:
        "A comment holds `RSSMRA85T10A562S`, which is a valid Codice Fiscale.",
        "Take identifiers, dates and long numbers out of texts.";
    SdcLabel:
        r#"`"I21.4"`, where the code list has chapters such as `"IX"`."#,
        "Use a code of the list, in its exact spelling.";
    SdcContributors:
        r#"`{"n": "<10", "mean": 7.1}`: the count is suppressed, its mean is not."#,
        "Suppress or leave out the statistic wherever its count is suppressed or too small.";
    SdcRate:
        r#"`{"den": 390, "num": "<5", "percent": 0.8}`: only 3 of 390 are 0.8 %."#,
        "Suppress the rate with its count, and round it from the counts that you publish.";
    SdcModel:
        "20 coefficients from 40 people, or `df` 380 beside 412 people and 4 coefficients.",
        "Fit fewer parameters or more people, and send `df` as people less parameters.";
    SdcDominance:
        "Costs of 840000, of which one patient has 700000 and another 80000.",
        "Join cells until no few contributors make up the sum, and send the evidence that the \
         contract asks for.";
    SdcQuantiles:
        "The 5 % quantile of 60 people has 3 people below it.",
        "Send quantiles with enough people between them, and neither minimum nor maximum.";
    SdcHistogram:
        "The first bin begins at 4.1, which is the smallest value of all.",
        "Use the edges of the contract, `null` at both ends, and join bins until each is empty or \
         full enough.";
    SdcSurvival:
        "240 people at risk, then 239: somebody has left on a known day.",
        "Join intervals until in each nobody or enough people have the event, and nobody or enough \
         leave without it.";
    SdcRows:
        "Two rows for the same region and week.",
        "Send one row for each key, and not more rows than the contract allows.";
    SdcRowsSorted:
        r#"The row of `"50-59"` stands before the row of `"40-49"`."#,
        "Sort rows by their keys, as the canonical JSON text of these in UTF-16 code units: the \
         order carries data too.";
    SdcLinked:
        r#"The row of the count is `"<5"`, and the row of its percentage is 0.8."#,
        "Suppress every statistic that tells the count together with the count.";
    SdcInconsistent:
        "Cells of 25, 30 and 40, and a total of 97.",
        "Compute totals from the cells that you publish.";
    SdcNested:
        "100 patients and 97 of them treated: the other 3 are told.",
        "Suppress the part or the whole, or join groups until nobody or enough people are left \
         out.";
    SdcRecoverable:
        r#"A row of 25, `"<10"` and 40 with the total 72: the suppressed cell is 7."#,
        "Suppress further cells of the same row and column, with the marker for cells that are not \
         small.";
    SdcUnproven:
        "A table of 3000 cells, or a system of suppressed cells that takes too long to solve.",
        "Send a smaller table, or suppress in another pattern, such as whole rows.";
};
