-- +goose Up
-- What cases, people, partners and messages need from here on. Times are milliseconds since 1970, 0 for "not known".

-- Cases: more states, whom and what they belong to, and what people and clocks have to do with them.
UPDATE cases SET state = 'new' WHERE state = 'open';
UPDATE cases SET outcome = CASE outcome WHEN 'fixed' THEN 'repaired' WHEN 'fixed by the owner' THEN 'fixed_by_owner'
    WHEN 'part replaced' THEN 'part_replaced' WHEN 'no fault found' THEN 'no_fault_found' ELSE outcome END;
ALTER TABLE cases ADD COLUMN firmware TEXT NOT NULL DEFAULT '';
ALTER TABLE cases ADD COLUMN batch TEXT NOT NULL DEFAULT '';
ALTER TABLE cases ADD COLUMN region TEXT NOT NULL DEFAULT '';
ALTER TABLE cases ADD COLUMN incident_id TEXT NOT NULL DEFAULT '';
ALTER TABLE cases ADD COLUMN merged_into TEXT NOT NULL DEFAULT '';
ALTER TABLE cases ADD COLUMN cause_rule TEXT NOT NULL DEFAULT '';
ALTER TABLE cases ADD COLUMN care TEXT NOT NULL DEFAULT '{}'; -- JSON
DROP INDEX cases_one_open;
-- One case per problem: a second writer that opens or reopens another one meets this and decides again.
CREATE UNIQUE INDEX cases_one_open ON cases (tenant, serial, problem) WHERE state NOT IN ('resolved', 'watching', 'closed');
CREATE INDEX cases_device ON cases (tenant, serial, opened_at);
CREATE INDEX cases_incident ON cases (tenant, incident_id, opened_at) WHERE incident_id <> '';
CREATE INDEX cases_model ON cases (tenant, model, problem, opened_at);

CREATE TABLE case_attachments (
    tenant  TEXT   NOT NULL,
    case_id TEXT   NOT NULL,
    id      TEXT   NOT NULL,
    name    TEXT   NOT NULL,
    type    TEXT   NOT NULL, -- media type
    size    BIGINT NOT NULL,
    body    TEXT   NOT NULL, -- base64
    at      BIGINT NOT NULL,
    by_whom TEXT   NOT NULL,
    PRIMARY KEY (tenant, case_id, id),
    FOREIGN KEY (tenant, case_id) REFERENCES cases (tenant, id)
);

CREATE TABLE incidents (
    tenant    TEXT             NOT NULL,
    id        TEXT             NOT NULL,
    version   BIGINT           NOT NULL,
    state     TEXT             NOT NULL,
    problem   TEXT             NOT NULL,
    model     TEXT             NOT NULL,
    firmware  TEXT             NOT NULL,
    batch     TEXT             NOT NULL,
    opened_at BIGINT           NOT NULL,
    fixed_at  BIGINT           NOT NULL,
    closed_at BIGINT           NOT NULL,
    by_whom   TEXT             NOT NULL,
    title     TEXT             NOT NULL,
    news      TEXT             NOT NULL, -- JSON: sentences by language
    next_at   BIGINT           NOT NULL,
    severity  BIGINT           NOT NULL,
    devices   BIGINT           NOT NULL,
    affected  BIGINT           NOT NULL,
    window_ms BIGINT           NOT NULL,
    expected  DOUBLE PRECISION NOT NULL,
    chance    DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX incidents_one_open ON incidents (tenant, problem, model, firmware, batch) WHERE state = 'open';
CREATE INDEX incidents_time ON incidents (tenant, opened_at);

CREATE TABLE incident_audit (
    tenant      TEXT   NOT NULL,
    incident_id TEXT   NOT NULL,
    version     BIGINT NOT NULL,
    position    BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    actor       TEXT   NOT NULL,
    action      TEXT   NOT NULL,
    detail      TEXT   NOT NULL,
    PRIMARY KEY (tenant, incident_id, version, position),
    FOREIGN KEY (tenant, incident_id) REFERENCES incidents (tenant, id)
);

-- People: how they want to hear, what they agreed to, whose a device was and when.
ALTER TABLE devices ADD COLUMN owned_since BIGINT NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN contract TEXT NOT NULL DEFAULT '';
ALTER TABLE devices ADD COLUMN contract_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE claim_codes ADD COLUMN transfer BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE people ADD COLUMN household_rank BIGINT NOT NULL DEFAULT 0;
ALTER TABLE people ADD COLUMN preferences TEXT NOT NULL DEFAULT '[]'; -- JSON
ALTER TABLE people ADD COLUMN digest_day BIGINT NOT NULL DEFAULT 0;
ALTER TABLE people ADD COLUMN digest_hour BIGINT NOT NULL DEFAULT 0;
CREATE INDEX people_household ON people (tenant, household) WHERE household <> '';
ALTER TABLE endpoints ADD COLUMN label TEXT NOT NULL DEFAULT '';
-- What stands for one browser or app is of one person: of those before, the last that was made keeps it.
DELETE FROM endpoints WHERE channel IN ('push', 'fcm') AND EXISTS (SELECT 1 FROM endpoints o JOIN people a ON a.tenant = o.tenant AND a.id = o.person_id
    JOIN people b ON b.tenant = endpoints.tenant AND b.id = endpoints.person_id
    WHERE o.tenant = endpoints.tenant AND o.channel = endpoints.channel AND o.address = endpoints.address
    AND (a.rev > b.rev OR a.rev = b.rev AND (o.person_id > endpoints.person_id OR o.person_id = endpoints.person_id AND o.position > endpoints.position)));
CREATE UNIQUE INDEX endpoints_device ON endpoints (tenant, channel, address) WHERE channel IN ('push', 'fcm');

CREATE TABLE consents (
    tenant       TEXT   NOT NULL,
    id           TEXT   NOT NULL,
    person_id    TEXT   NOT NULL,
    purpose      TEXT   NOT NULL,
    text_version TEXT   NOT NULL,
    source       TEXT   NOT NULL,
    given_at     BIGINT NOT NULL,
    withdrawn_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, person_id) REFERENCES people (tenant, id)
);
CREATE INDEX consents_person ON consents (tenant, person_id, purpose);

CREATE TABLE ownerships (
    tenant    TEXT   NOT NULL,
    serial    TEXT   NOT NULL,
    person_id TEXT   NOT NULL,
    from_at   BIGINT NOT NULL,
    to_at     BIGINT NOT NULL, -- 0: to this day
    PRIMARY KEY (tenant, serial, from_at),
    FOREIGN KEY (tenant, serial) REFERENCES devices (tenant, serial)
);
CREATE INDEX ownerships_person ON ownerships (tenant, person_id);
INSERT INTO ownerships (tenant, serial, person_id, from_at, to_at)
    SELECT tenant, serial, owner_id, 0, 0 FROM devices WHERE owner_id <> '';

CREATE TABLE sessions (
    tenant     TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    person_id  TEXT   NOT NULL,
    hash       TEXT   NOT NULL, -- hex
    agent      TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    used_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, person_id) REFERENCES people (tenant, id)
);
CREATE UNIQUE INDEX sessions_hash ON sessions (hash);
CREATE INDEX sessions_person ON sessions (tenant, person_id);

-- Links that work once and were used. A row may go when the link has expired.
CREATE TABLE used_links (
    tenant     TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX used_links_expire ON used_links (expires_at);

-- Service partners and their work orders.
CREATE TABLE partners (
    tenant  TEXT   NOT NULL,
    id      TEXT   NOT NULL,
    name    TEXT   NOT NULL,
    partner TEXT   NOT NULL, -- JSON
    rev     BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
INSERT INTO revisions (name, value) VALUES ('partners', 0);

CREATE TABLE orders (
    tenant     TEXT   NOT NULL,
    id         TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    case_id    TEXT   NOT NULL,
    serial     TEXT   NOT NULL,
    partner_id TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    work       TEXT   NOT NULL, -- JSON: the rest
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, partner_id) REFERENCES partners (tenant, id)
);
CREATE INDEX orders_case ON orders (tenant, case_id, created_at);
-- One visit at a time: a second order for the same case meets this.
CREATE UNIQUE INDEX orders_one_open ON orders (tenant, case_id) WHERE state IN ('offered', 'accepted');
CREATE INDEX orders_partner ON orders (tenant, partner_id, created_at);

-- Messages: what each stage said, how far each came, what was answered.
ALTER TABLE outbox ADD COLUMN ref TEXT NOT NULL DEFAULT '';
ALTER TABLE outbox ADD COLUMN about BIGINT NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN done_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX outbox_done ON outbox (done_at) WHERE state = 'done';
-- What a channel has to send, however much another one has.
CREATE INDEX outbox_channel ON outbox (channel, due_at, ord) WHERE kind IN ('message', 'notify', 'order') AND state IN ('pending', 'leased');
CREATE INDEX outbox_person ON outbox (tenant, person_id, due_at) WHERE state IN ('pending', 'leased');
CREATE INDEX commands_past ON commands (expires_at) WHERE is_open = 0;

ALTER TABLE deliveries ADD COLUMN ref TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN endpoint TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN topic TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN subject TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN trace TEXT NOT NULL DEFAULT ''; -- JSON
ALTER TABLE deliveries ADD COLUMN delivered_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN opened_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN acted_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN acted TEXT NOT NULL DEFAULT '';
-- What was heard before is known by its topic: else an owner is told again of what she knows.
UPDATE deliveries SET topic = COALESCE((SELECT outbox.topic FROM outbox WHERE outbox.id = deliveries.outbox_id), '');
CREATE INDEX deliveries_ref ON deliveries (tenant, ref, at) WHERE ref <> '';
CREATE INDEX deliveries_person ON deliveries (tenant, person_id, at);

ALTER TABLE inbox ADD COLUMN ref TEXT NOT NULL DEFAULT '';
ALTER TABLE inbox ADD COLUMN subject TEXT NOT NULL DEFAULT '';
ALTER TABLE inbox ADD COLUMN rule TEXT NOT NULL DEFAULT '';
ALTER TABLE inbox ADD COLUMN rule_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE inbox ADD COLUMN evidence TEXT NOT NULL DEFAULT ''; -- JSON
ALTER TABLE inbox ADD COLUMN merged TEXT NOT NULL DEFAULT ''; -- JSON
ALTER TABLE inbox ADD COLUMN todo TEXT NOT NULL DEFAULT ''; -- what to do now, in a line

-- A household's contact budget: a row for each message that took a place.
CREATE TABLE contacts (
    tenant    TEXT   NOT NULL,
    id        TEXT   NOT NULL, -- of the message
    household TEXT   NOT NULL, -- or the person, alone
    at        BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE INDEX contacts_household ON contacts (tenant, household, at);

CREATE TABLE answers (
    tenant     TEXT   NOT NULL,
    message_id TEXT   NOT NULL,
    person_id  TEXT   NOT NULL,
    verdict    TEXT   NOT NULL,
    case_id    TEXT   NOT NULL,
    rule       TEXT   NOT NULL,
    rule_hash  TEXT   NOT NULL,
    topic      TEXT   NOT NULL,
    note       TEXT   NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (tenant, message_id, person_id, verdict)
);
CREATE INDEX answers_case ON answers (tenant, case_id, at);

CREATE TABLE rule_records (
    tenant    TEXT   NOT NULL,
    rule      TEXT   NOT NULL,
    rule_hash TEXT   NOT NULL,
    what      TEXT   NOT NULL, -- a verdict, or outcome:<code>
    n         BIGINT NOT NULL,
    PRIMARY KEY (tenant, rule, rule_hash, what)
);

-- +goose Down
DROP TABLE rule_records;
DROP TABLE answers;
DROP TABLE contacts;
DROP TABLE orders;
DROP TABLE partners;
DELETE FROM revisions WHERE name = 'partners';
DROP TABLE used_links;
DROP TABLE sessions;
DROP TABLE ownerships;
DROP TABLE consents;
DROP TABLE incident_audit;
DROP TABLE incidents;
DROP TABLE case_attachments;
DROP INDEX deliveries_ref;
DROP INDEX deliveries_person;
DROP INDEX outbox_done;
DROP INDEX commands_past;
DROP INDEX outbox_channel;
DROP INDEX outbox_person;
DROP INDEX people_household;
DROP INDEX cases_incident;
DROP INDEX cases_device;
DROP INDEX cases_model;
DROP INDEX cases_one_open;
UPDATE cases SET state = 'open' WHERE state IN ('new', 'in_progress', 'waiting', 'reopened');
UPDATE cases SET state = 'resolved' WHERE state IN ('watching', 'closed');
CREATE UNIQUE INDEX cases_one_open ON cases (tenant, serial, problem) WHERE state <> 'resolved';
ALTER TABLE inbox DROP COLUMN todo;
ALTER TABLE inbox DROP COLUMN merged;
ALTER TABLE inbox DROP COLUMN evidence;
ALTER TABLE inbox DROP COLUMN rule_hash;
ALTER TABLE inbox DROP COLUMN rule;
ALTER TABLE inbox DROP COLUMN subject;
ALTER TABLE inbox DROP COLUMN ref;
ALTER TABLE deliveries DROP COLUMN acted;
ALTER TABLE deliveries DROP COLUMN acted_at;
ALTER TABLE deliveries DROP COLUMN opened_at;
ALTER TABLE deliveries DROP COLUMN delivered_at;
ALTER TABLE deliveries DROP COLUMN trace;
ALTER TABLE deliveries DROP COLUMN subject;
ALTER TABLE deliveries DROP COLUMN topic;
ALTER TABLE deliveries DROP COLUMN endpoint;
ALTER TABLE deliveries DROP COLUMN ref;
ALTER TABLE outbox DROP COLUMN done_at;
ALTER TABLE outbox DROP COLUMN about;
ALTER TABLE outbox DROP COLUMN ref;
DROP INDEX endpoints_device;
ALTER TABLE endpoints DROP COLUMN label;
ALTER TABLE people DROP COLUMN digest_hour;
ALTER TABLE people DROP COLUMN digest_day;
ALTER TABLE people DROP COLUMN preferences;
ALTER TABLE people DROP COLUMN household_rank;
ALTER TABLE claim_codes DROP COLUMN transfer;
ALTER TABLE devices DROP COLUMN contract_until;
ALTER TABLE devices DROP COLUMN contract;
ALTER TABLE devices DROP COLUMN owned_since;
ALTER TABLE cases DROP COLUMN care;
ALTER TABLE cases DROP COLUMN cause_rule;
ALTER TABLE cases DROP COLUMN merged_into;
ALTER TABLE cases DROP COLUMN incident_id;
ALTER TABLE cases DROP COLUMN region;
ALTER TABLE cases DROP COLUMN batch;
ALTER TABLE cases DROP COLUMN firmware;
