-- What a service needs beyond rounds: operators' settings, revocation, evaluations, leases.
-- Migrations are append-only: this file never changes once it has been released.

-- What operators, caps and replicas decide about a task: apart from `tasks`, whose rows are
-- long, because this is read with every request.
CREATE TABLE controls (
    task           TEXT    NOT NULL PRIMARY KEY REFERENCES tasks (task),
    settings       TEXT    NOT NULL,                     -- JSON; '{}' is every default
    -- A task that is through its rounds is finished, whatever stands here.
    status         TEXT    NOT NULL CHECK
                   (status IN ('running', 'paused', 'cancelled', 'halted')),
    lease_owner    TEXT,                                 -- the replica that closes the round
    lease_until_ms INTEGER CHECK (lease_until_ms >= 0),  -- till when others leave it alone
    CHECK ((lease_owner IS NULL) = (lease_until_ms IS NULL))
) STRICT;
INSERT INTO controls (task, settings, status) SELECT task, '{}', 'running' FROM tasks;

-- Updates of earlier rounds taken into this one's aggregate.
ALTER TABLE rounds ADD COLUMN stale_reports INTEGER NOT NULL DEFAULT 0 CHECK (stale_reports >= 0);
-- When the report goal was reached.
ALTER TABLE rounds ADD COLUMN goal_ms INTEGER CHECK (goal_ms >= 0);

-- The round into whose aggregate an update goes: its own, or a later one of a buffered task.
ALTER TABLE updates ADD COLUMN counted_in INTEGER NOT NULL DEFAULT 0 CHECK (counted_in >= 0);
UPDATE updates SET counted_in = round;
CREATE INDEX updates_by_aggregate ON updates (task, counted_in, round, device);
CREATE INDEX updates_with_bytes ON updates (task, counted_in) WHERE bytes IS NOT NULL;
-- How much the update counts; 1 unless the task weighs devices by their public weights.
ALTER TABLE updates ADD COLUMN weight INTEGER NOT NULL DEFAULT 1 CHECK (weight > 0);

-- Time of the last request a device signed: an older or equal one is a replay.
ALTER TABLE devices ADD COLUMN signed_ms INTEGER NOT NULL DEFAULT 0 CHECK (signed_ms >= 0);
ALTER TABLE devices ADD COLUMN seen_ms INTEGER CHECK (seen_ms >= 0);          -- last request
ALTER TABLE devices ADD COLUMN version TEXT;                                  -- of its SDK
ALTER TABLE devices ADD COLUMN weight INTEGER NOT NULL DEFAULT 1 CHECK (weight > 0); -- public
ALTER TABLE devices ADD COLUMN revoked_ms INTEGER CHECK (revoked_ms >= 0);
-- A banned key cannot enrol again, a revoked one can, with a new token.
ALTER TABLE devices ADD COLUMN banned INTEGER NOT NULL DEFAULT 0 CHECK (banned IN (0, 1));
CREATE INDEX assignments_by_device ON assignments (device, task, assigned_ms);

-- Enrolment tokens: until when they are good, and what the devices weigh that use them.
ALTER TABLE tokens ADD COLUMN expires_ms INTEGER CHECK (expires_ms >= 0);
ALTER TABLE tokens ADD COLUMN weight INTEGER NOT NULL DEFAULT 1 CHECK (weight > 0);

-- Tokens of people and programs beside the configured one. Shown once and never stored.
CREATE TABLE operators (
    name        TEXT    NOT NULL PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    digest      TEXT    NOT NULL UNIQUE CHECK (length(digest) = 64), -- SHA-256 of the token
    scope       TEXT    NOT NULL CHECK (scope IN ('read', 'evaluate', 'admin')),
    created_ms  INTEGER NOT NULL CHECK (created_ms >= 0),
    expires_ms  INTEGER CHECK (expires_ms >= 0),
    revoked_ms  INTEGER CHECK (revoked_ms >= 0)
) STRICT;

-- Loss and accuracy of a round's model on an evaluator's own examples.
CREATE TABLE evaluations (
    task        TEXT    NOT NULL REFERENCES tasks (task),
    round       INTEGER NOT NULL CHECK (round >= 0),           -- rounds that the model has seen
    evaluator   TEXT    NOT NULL CHECK (length(evaluator) BETWEEN 1 AND 64),
    loss        REAL    NOT NULL,
    accuracy    REAL             CHECK (accuracy BETWEEN 0 AND 1),
    examples    INTEGER NOT NULL CHECK (examples > 0),
    reported_ms INTEGER NOT NULL CHECK (reported_ms >= 0),
    PRIMARY KEY (task, round, evaluator)
) STRICT;
