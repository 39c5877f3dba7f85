-- The chain, and when it last grew. Whoever holds this row's lock is the only one to decide.
CREATE TABLE lazaret.state (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    head_seq bigint NOT NULL,
    head_hash bytea NOT NULL CHECK (length(head_hash) = 32),
    anchor_seq bigint NOT NULL,
    anchor_hash bytea NOT NULL CHECK (length(anchor_hash) = 32),
    time bigint NOT NULL
);
INSERT INTO lazaret.state (head_seq, head_hash, anchor_seq, anchor_hash, time)
VALUES (0, decode(repeat('00', 32), 'hex'), 0, decode(repeat('00', 32), 'hex'), 0);

CREATE TABLE lazaret.line (
    seq bigint PRIMARY KEY,
    line bytea NOT NULL
);

-- A family of one consumer.
CREATE TABLE lazaret.part (
    part integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    consumer text NOT NULL,
    family text NOT NULL,
    UNIQUE (consumer, family)
);

-- Distinct figures of cells: what they say about the count, digests of text and statistics, and
-- the first and last entry that has them.
CREATE TABLE lazaret.cell (
    part integer NOT NULL REFERENCES lazaret.part,
    key bytea NOT NULL,
    lo bigint NOT NULL,
    hi bigint NOT NULL,
    value bytea NOT NULL,
    stats bytea NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    time bigint NOT NULL,
    PRIMARY KEY (part, key, lo, hi, value, stats)
);

-- The widest figure of a cell.
CREATE TABLE lazaret.width (
    part integer NOT NULL,
    key bytea NOT NULL,
    width bigint NOT NULL,
    PRIMARY KEY (part, key)
);

-- What was spent before an entry and by it: releases, bytes, bits, billionths of epsilon.
CREATE TABLE lazaret.sums (
    part integer NOT NULL REFERENCES lazaret.part,
    time bigint NOT NULL,
    seq bigint NOT NULL,
    before bigint[] NOT NULL CHECK (array_length(before, 1) = 4 AND 0 <= ALL (before)),
    own bigint[] NOT NULL CHECK (array_length(own, 1) = 4 AND 0 <= ALL (own)),
    PRIMARY KEY (part, time, seq)
);

CREATE TABLE lazaret.payload (
    part integer NOT NULL REFERENCES lazaret.part,
    digest bytea NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    time bigint NOT NULL,
    PRIMARY KEY (part, digest)
);

CREATE TABLE lazaret.scope (
    part integer NOT NULL REFERENCES lazaret.part,
    scope bytea NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (part, scope, seq)
);

-- Reservations of which it is not known whether they were sent.
CREATE TABLE lazaret.open (
    seq bigint PRIMARY KEY
);
