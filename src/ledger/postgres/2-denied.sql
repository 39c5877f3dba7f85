-- Denied attempts of the last hour, by second.
CREATE TABLE lazaret.denied (
    part integer NOT NULL REFERENCES lazaret.part,
    time bigint NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (part, time)
);
