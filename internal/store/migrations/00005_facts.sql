-- +goose Up
-- What rules look at besides readings. Whoever changes a row here gives the device a new rev in the same transaction: that
-- is what makes its facts go to the journal again.
CREATE TABLE device_limits (
    tenant TEXT             NOT NULL,
    serial TEXT             NOT NULL,
    name   TEXT             NOT NULL, -- rule-id.limit
    value  DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (tenant, serial, name),
    FOREIGN KEY (tenant, serial) REFERENCES devices (tenant, serial)
);

CREATE TABLE device_spans (
    tenant  TEXT   NOT NULL,
    serial  TEXT   NOT NULL,
    kind    TEXT   NOT NULL, -- maintenance, stored
    from_at BIGINT NOT NULL,
    to_at   BIGINT NOT NULL, -- 0: until further notice
    PRIMARY KEY (tenant, serial, kind, from_at),
    FOREIGN KEY (tenant, serial) REFERENCES devices (tenant, serial)
);

-- Rows are added, never changed or removed.
CREATE TABLE device_services (
    tenant    TEXT   NOT NULL,
    serial    TEXT   NOT NULL,
    component TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    by_whom   TEXT   NOT NULL,
    PRIMARY KEY (tenant, serial, component, at),
    FOREIGN KEY (tenant, serial) REFERENCES devices (tenant, serial)
);

-- Everything up to this rev has been sent. The index is in the order of sending, so that each page of a large import is
-- found without sorting the rest.
INSERT INTO revisions (name, value) VALUES ('facts', 0);
DROP INDEX devices_rev;
CREATE INDEX devices_rev ON devices (rev, tenant, serial);

-- The rule packs that were in force; the newest are.
CREATE TABLE activations (
    n        BIGINT  NOT NULL PRIMARY KEY,
    at       BIGINT  NOT NULL,
    by_whom  TEXT    NOT NULL,
    set_hash TEXT    NOT NULL,
    packs    TEXT    NOT NULL, -- JSON: content by file name
    sent     BOOLEAN NOT NULL  -- every partition of the journal has it
);

-- +goose Down
DROP TABLE activations;
DROP INDEX devices_rev;
CREATE INDEX devices_rev ON devices (rev);
DELETE FROM revisions WHERE name = 'facts';
DROP TABLE device_services;
DROP TABLE device_spans;
DROP TABLE device_limits;
