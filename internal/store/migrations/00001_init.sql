-- +goose Up
-- Times are milliseconds since 1970, 0 for "not known". Types and clauses are those that SQLite and PostgreSQL share.

CREATE TABLE revisions (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO revisions (name, value) VALUES ('registry', 0);

CREATE TABLE devices (
    tenant         TEXT    NOT NULL,
    serial         TEXT    NOT NULL,
    model          TEXT    NOT NULL,
    category       TEXT    NOT NULL,
    name           TEXT    NOT NULL,
    room           TEXT    NOT NULL,
    region         TEXT    NOT NULL,
    firmware       TEXT    NOT NULL,
    hardware       TEXT    NOT NULL,
    batch          TEXT    NOT NULL,
    parent         TEXT    NOT NULL,
    owner_id       TEXT    NOT NULL,
    seller         TEXT    NOT NULL,
    installed_at   BIGINT  NOT NULL,
    warranty_until BIGINT  NOT NULL,
    revoked        BOOLEAN NOT NULL,
    rev            BIGINT  NOT NULL,
    PRIMARY KEY (tenant, serial)
);
CREATE INDEX devices_category ON devices (tenant, category, serial);
CREATE INDEX devices_owner ON devices (tenant, owner_id);
CREATE INDEX devices_rev ON devices (rev);

CREATE TABLE credentials (
    tenant     TEXT   NOT NULL,
    serial     TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    hash       TEXT   NOT NULL, -- hex
    created_at BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL,
    rev        BIGINT NOT NULL,
    PRIMARY KEY (tenant, serial, id),
    FOREIGN KEY (tenant, serial) REFERENCES devices (tenant, serial)
);
CREATE INDEX credentials_rev ON credentials (rev);

CREATE TABLE people (
    tenant    TEXT   NOT NULL,
    id        TEXT   NOT NULL,
    name      TEXT   NOT NULL,
    locale    TEXT   NOT NULL,
    zone      TEXT   NOT NULL,
    household TEXT   NOT NULL,
    rev       BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX people_rev ON people (rev);

CREATE TABLE endpoints (
    tenant    TEXT   NOT NULL,
    person_id TEXT   NOT NULL,
    position  BIGINT NOT NULL,
    channel   TEXT   NOT NULL,
    address   TEXT   NOT NULL,
    secret    TEXT   NOT NULL,
    PRIMARY KEY (tenant, person_id, position),
    FOREIGN KEY (tenant, person_id) REFERENCES people (tenant, id)
);

CREATE TABLE cases (
    tenant        TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    version       BIGINT  NOT NULL,
    serial        TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    category      TEXT    NOT NULL,
    problem       TEXT    NOT NULL,
    rule          TEXT    NOT NULL,
    kind          TEXT    NOT NULL,
    severity      BIGINT  NOT NULL,
    state         TEXT    NOT NULL,
    opened_at     BIGINT  NOT NULL,
    updated_at    BIGINT  NOT NULL,
    closed_at     BIGINT  NOT NULL,
    episode_count BIGINT  NOT NULL,
    live          BOOLEAN NOT NULL,
    told          BIGINT  NOT NULL,
    told_any      BOOLEAN NOT NULL,
    all_clear     BOOLEAN NOT NULL,
    back_at       BIGINT  NOT NULL,
    seen_until    BIGINT  NOT NULL,
    outcome       TEXT    NOT NULL,
    assignee      TEXT    NOT NULL,
    episodes      TEXT    NOT NULL, -- JSON
    PRIMARY KEY (tenant, id)
);
-- One case per problem: a second writer that opens or reopens another one meets this and decides again.
CREATE UNIQUE INDEX cases_one_open ON cases (tenant, serial, problem) WHERE state <> 'resolved';
CREATE INDEX cases_problem ON cases (tenant, serial, problem, opened_at);
CREATE INDEX cases_list ON cases (tenant, state, severity, opened_at);
CREATE INDEX cases_time ON cases (tenant, opened_at);

CREATE TABLE case_audit (
    tenant   TEXT   NOT NULL,
    case_id  TEXT   NOT NULL,
    version  BIGINT NOT NULL,
    position BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    actor    TEXT   NOT NULL,
    action   TEXT   NOT NULL,
    detail   TEXT   NOT NULL,
    PRIMARY KEY (tenant, case_id, version, position),
    FOREIGN KEY (tenant, case_id) REFERENCES cases (tenant, id)
);

CREATE TABLE outbox (
    id          TEXT   NOT NULL PRIMARY KEY, -- a hash over the tenant too
    kind        TEXT   NOT NULL,
    tenant      TEXT   NOT NULL,
    case_id     TEXT   NOT NULL,
    person_id   TEXT   NOT NULL,
    channel     TEXT   NOT NULL,
    topic       TEXT   NOT NULL,
    body        TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    due_at      BIGINT NOT NULL,
    ord         BIGINT NOT NULL, -- order among rows due in the same millisecond
    lease_until BIGINT NOT NULL,
    attempts    BIGINT NOT NULL,
    last_err    TEXT   NOT NULL,
    reason      TEXT   NOT NULL,
    cause       BIGINT NOT NULL
);
CREATE INDEX outbox_due ON outbox (kind, due_at, ord) WHERE state IN ('pending', 'leased');
CREATE INDEX outbox_dead ON outbox (tenant, due_at) WHERE state = 'dead';
CREATE INDEX outbox_case ON outbox (tenant, case_id);

CREATE TABLE deliveries (
    tenant    TEXT   NOT NULL,
    outbox_id TEXT   NOT NULL,
    case_id   TEXT   NOT NULL,
    person_id TEXT   NOT NULL,
    channel   TEXT   NOT NULL,
    state     TEXT   NOT NULL,
    reason    TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    attempts  BIGINT NOT NULL,
    PRIMARY KEY (tenant, outbox_id)
);
CREATE INDEX deliveries_case ON deliveries (tenant, case_id, at);
CREATE INDEX deliveries_at ON deliveries (tenant, at);

CREATE TABLE inbox (
    tenant    TEXT   NOT NULL,
    id        TEXT   NOT NULL,
    case_id   TEXT   NOT NULL,
    serial    TEXT   NOT NULL,
    person_id TEXT   NOT NULL,
    channel   TEXT   NOT NULL,
    topic     TEXT   NOT NULL,
    kind      TEXT   NOT NULL,
    severity  BIGINT NOT NULL,
    locale    TEXT   NOT NULL,
    title     TEXT   NOT NULL,
    body      TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    read_at   BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX inbox_person ON inbox (tenant, person_id, at);
CREATE INDEX inbox_at ON inbox (tenant, at);

-- +goose Down
DROP TABLE inbox;
DROP TABLE deliveries;
DROP TABLE outbox;
DROP TABLE case_audit;
DROP TABLE cases;
DROP TABLE endpoints;
DROP TABLE people;
DROP TABLE credentials;
DROP TABLE devices;
DROP TABLE revisions;
