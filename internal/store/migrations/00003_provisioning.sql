-- +goose Up
-- When a credential was first used: after that, the model's provisioning secret is of no use for its device. Whoever has a
-- credential from before this column may have used it long ago.
ALTER TABLE credentials ADD COLUMN used_at BIGINT NOT NULL DEFAULT 0;
UPDATE credentials SET used_at = created_at;

CREATE TABLE provisioning_keys (
    tenant     TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    model      TEXT    NOT NULL,
    open       BOOLEAN NOT NULL, -- devices that are not registered are taken too
    hash       TEXT    NOT NULL, -- hex
    created_at BIGINT  NOT NULL,
    revoked_at BIGINT  NOT NULL,
    rev        BIGINT  NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX provisioning_keys_rev ON provisioning_keys (rev);

-- One code for each device: a new one replaces the old one.
CREATE TABLE claim_codes (
    tenant     TEXT   NOT NULL,
    serial     TEXT   NOT NULL,
    hash       TEXT   NOT NULL, -- hex
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL, -- 0: never
    used_at    BIGINT NOT NULL,
    PRIMARY KEY (tenant, serial),
    FOREIGN KEY (tenant, serial) REFERENCES devices (tenant, serial)
);
CREATE UNIQUE INDEX claim_codes_hash ON claim_codes (tenant, hash);

-- Who changed what about access. Rows are added, never changed or removed.
CREATE TABLE security_events (
    n       BIGINT NOT NULL PRIMARY KEY, -- counts without a gap: a row that is missing shows
    at      BIGINT NOT NULL,
    tenant  TEXT   NOT NULL,
    actor   TEXT   NOT NULL,
    action  TEXT   NOT NULL,
    subject TEXT   NOT NULL,
    detail  TEXT   NOT NULL
);
CREATE INDEX security_events_tenant ON security_events (tenant, n);
INSERT INTO revisions (name, value) VALUES ('security', 0);

-- +goose Down
DELETE FROM revisions WHERE name = 'security';
DROP TABLE security_events;
DROP TABLE claim_codes;
DROP TABLE provisioning_keys;
ALTER TABLE credentials DROP COLUMN used_at;
