-- Migrations are append-only: this file never changes once it has been released.
-- Names and digests are lower-case hexadecimal text; times are milliseconds since 1970.

-- Enrolment tokens. A token itself is shown once and never stored.
CREATE TABLE tokens (
    digest      TEXT    NOT NULL PRIMARY KEY CHECK (length(digest) = 64), -- SHA-256 of the token
    uses_left   INTEGER NOT NULL CHECK (uses_left >= 0),  -- enrolments that it still allows
    created_ms  INTEGER NOT NULL CHECK (created_ms >= 0)
) STRICT;

-- Devices that may sign requests.
CREATE TABLE devices (
    device      TEXT    NOT NULL PRIMARY KEY CHECK (length(device) = 32), -- digest of the key, cut
    public_key  BLOB    NOT NULL CHECK (length(public_key) = 32),         -- Ed25519
    enrolled_ms INTEGER NOT NULL CHECK (enrolled_ms >= 0)
) STRICT;

-- One model trained under one immutable plan.
CREATE TABLE tasks (
    task        TEXT    NOT NULL PRIMARY KEY CHECK (length(task) BETWEEN 1 AND 64),
    plan        BLOB    NOT NULL,                          -- encoded plan, as devices get it
    plan_digest TEXT    NOT NULL CHECK (length(plan_digest) = 64),
    rounds      INTEGER NOT NULL CHECK (rounds > 0),       -- rounds of the plan
    round       INTEGER NOT NULL CHECK (round >= 0),       -- rounds done, abandoned ones too
    model       TEXT    NOT NULL CHECK (length(model) = 64), -- digest of the current model
    state       BLOB    NOT NULL,                          -- encoded training state
    created_ms  INTEGER NOT NULL CHECK (created_ms >= 0),
    CHECK (round <= rounds)
) STRICT;

-- What devices download, by content, for as long as a round that uses it may be open.
CREATE TABLE contents (
    task        TEXT    NOT NULL REFERENCES tasks (task),
    digest      TEXT    NOT NULL CHECK (length(digest) = 64), -- SHA-256 of bytes
    last_round  INTEGER NOT NULL CHECK (last_round >= 0),     -- last round that uses it
    bytes       BLOB    NOT NULL,
    PRIMARY KEY (task, digest)
) STRICT;

-- Rounds, current and past.
CREATE TABLE rounds (
    task        TEXT    NOT NULL REFERENCES tasks (task),
    round       INTEGER NOT NULL CHECK (round >= 0),
    phase       TEXT    NOT NULL CHECK
                (phase IN ('selecting', 'collecting', 'aggregating', 'committed', 'abandoned')),
    model       TEXT    NOT NULL CHECK (length(model) = 64),
    mask        TEXT    NOT NULL CHECK (length(mask) = 64),
    scale       TEXT    NOT NULL CHECK (length(scale) = 64),
    active      INTEGER NOT NULL CHECK (active > 0),          -- active coordinates
    assigned    INTEGER NOT NULL CHECK (assigned >= 0),       -- rows in assignments
    reports     INTEGER NOT NULL CHECK (reports >= 0),        -- rows in updates
    opened_ms   INTEGER NOT NULL CHECK (opened_ms >= 0),
    deadline_ms INTEGER CHECK (deadline_ms >= 0),             -- set by the first assignment
    closed_ms   INTEGER CHECK (closed_ms >= 0),
    bytes_up    INTEGER NOT NULL CHECK (bytes_up >= 0),       -- bodies of accepted updates
    bytes_down  INTEGER NOT NULL CHECK (bytes_down >= 0),     -- bodies sent to devices
    PRIMARY KEY (task, round),
    CHECK (reports <= assigned),
    CHECK ((assigned = 0) = (deadline_ms IS NULL)),
    CHECK ((phase IN ('committed', 'abandoned')) = (closed_ms IS NOT NULL))
) STRICT;

-- At most one round of a task is open, whatever else goes wrong.
CREATE UNIQUE INDEX one_open_round ON rounds (task) WHERE closed_ms IS NULL;

-- Permissions to release: the privacy charges. Rows are never changed or deleted.
CREATE TABLE assignments (
    task        TEXT    NOT NULL,
    round       INTEGER NOT NULL,
    device      TEXT    NOT NULL REFERENCES devices (device),
    assigned_ms INTEGER NOT NULL CHECK (assigned_ms >= 0),
    PRIMARY KEY (task, round, device),
    FOREIGN KEY (task, round) REFERENCES rounds (task, round)
) STRICT, WITHOUT ROWID;

-- Accepted updates. The digest outlives the bytes, so that a repetition is recognised.
CREATE TABLE updates (
    task        TEXT    NOT NULL,
    round       INTEGER NOT NULL,
    device      TEXT    NOT NULL,
    digest      TEXT    NOT NULL CHECK (length(digest) = 64), -- SHA-256 of the body
    bytes       BLOB,                                         -- body; NULL once aggregated
    received_ms INTEGER NOT NULL CHECK (received_ms >= 0),
    PRIMARY KEY (task, round, device),
    FOREIGN KEY (task, round, device) REFERENCES assignments (task, round, device)
) STRICT;
