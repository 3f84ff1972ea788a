-- +goose Up
-- How many readings had one property on one UTC day, by model and firmware.

CREATE TABLE quality (
    tenant   TEXT   NOT NULL,
    model    TEXT   NOT NULL,
    firmware TEXT   NOT NULL,
    day      BIGINT NOT NULL, -- its beginning, milliseconds since 1970
    reason   TEXT   NOT NULL, -- '' counts all readings
    field    TEXT   NOT NULL,
    n        BIGINT NOT NULL,
    example  TEXT   NOT NULL,
    last_at  BIGINT NOT NULL,
    PRIMARY KEY (tenant, model, firmware, day, reason, field)
);
CREATE INDEX quality_day ON quality (day);


-- +goose Down
DROP TABLE quality;
