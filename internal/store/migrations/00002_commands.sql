-- +goose Up
CREATE TABLE commands (
    tenant      TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    version     BIGINT  NOT NULL,
    serial      TEXT    NOT NULL,
    model       TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    args        TEXT    NOT NULL, -- JSON, '' for none
    disruptive  BOOLEAN NOT NULL,
    state       TEXT    NOT NULL,
    is_open     BIGINT  NOT NULL, -- 1 until the state is final
    created_at  BIGINT  NOT NULL,
    expires_at  BIGINT  NOT NULL,
    due_at      BIGINT  NOT NULL,
    sent_at     BIGINT  NOT NULL,
    answered_at BIGINT  NOT NULL,
    attempts    BIGINT  NOT NULL,
    asked_by    TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    result      TEXT    NOT NULL, -- JSON, '' for none
    PRIMARY KEY (tenant, id)
);
CREATE INDEX commands_due ON commands (due_at) WHERE is_open = 1;
CREATE INDEX commands_open ON commands (tenant, serial) WHERE is_open = 1;
CREATE INDEX commands_list ON commands (tenant, created_at);
CREATE INDEX commands_device ON commands (tenant, serial, created_at);

CREATE TABLE command_audit (
    tenant     TEXT   NOT NULL,
    command_id TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    position   BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    actor      TEXT   NOT NULL,
    action     TEXT   NOT NULL,
    detail     TEXT   NOT NULL,
    PRIMARY KEY (tenant, command_id, version, position),
    FOREIGN KEY (tenant, command_id) REFERENCES commands (tenant, id)
);

-- +goose Down
DROP TABLE command_audit;
DROP TABLE commands;
