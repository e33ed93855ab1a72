-- What the app itself said that it allows the account; 0 = it said nothing, and the connector's numbers hold. allowed_per is in microseconds.
ALTER TABLE budgets ADD COLUMN allowed_calls BIGINT NOT NULL DEFAULT 0;
ALTER TABLE budgets ADD COLUMN allowed_per BIGINT NOT NULL DEFAULT 0;
ALTER TABLE budgets ADD COLUMN allowed_concurrent BIGINT NOT NULL DEFAULT 0;
