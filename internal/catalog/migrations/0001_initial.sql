-- Times are microseconds since 1970 UTC, 0 = none. {{.Blob}} and {{.Serial}} are the dialect's.

CREATE TABLE integrations (
	name   TEXT PRIMARY KEY,
	active BOOLEAN NOT NULL
);

-- A revision never changes: frozen batches refer to it.
CREATE TABLE revisions (
	integration TEXT NOT NULL REFERENCES integrations (name),
	revision    BIGINT NOT NULL,
	spec        TEXT NOT NULL,
	created_at  BIGINT NOT NULL,
	PRIMARY KEY (integration, revision)
);

CREATE TABLE installations (
	seq          {{.Serial}},
	epoch        TEXT NOT NULL UNIQUE,
	id           TEXT NOT NULL,
	integration  TEXT NOT NULL,
	revision     BIGINT NOT NULL,
	user_id      TEXT NOT NULL,
	name         TEXT NOT NULL,
	connector    TEXT NOT NULL,
	account      TEXT NOT NULL,
	token_hash   {{.Blob}},
	sealed_token {{.Blob}},
	state        TEXT NOT NULL CHECK (state IN ('installing', 'active', 'ended')),
	pressure     BOOLEAN NOT NULL,
	note         TEXT NOT NULL,
	retention    BIGINT NOT NULL DEFAULT 0,
	created_at   BIGINT NOT NULL,
	ended_at     BIGINT NOT NULL,
	FOREIGN KEY (integration, revision) REFERENCES revisions (integration, revision)
);
CREATE UNIQUE INDEX installations_one_living ON installations (id) WHERE state <> 'ended';
CREATE UNIQUE INDEX installations_one_living_token ON installations (token_hash) WHERE state <> 'ended';
CREATE INDEX installations_id ON installations (id, seq);
CREATE INDEX installations_token ON installations (token_hash, seq);
CREATE INDEX installations_account ON installations (connector, account) WHERE state <> 'ended';
CREATE INDEX installations_integration ON installations (integration, seq);
CREATE INDEX installations_user ON installations (user_id, seq);

CREATE TABLE connections (
	owner      TEXT NOT NULL,
	connector  TEXT NOT NULL,
	name       TEXT NOT NULL,
	account    TEXT NOT NULL,
	ciphertext {{.Blob}} NOT NULL,
	version    BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	PRIMARY KEY (owner, connector, name)
);

CREATE TABLE quarantine (
	id           {{.Serial}},
	installation TEXT NOT NULL,
	epoch        TEXT NOT NULL,
	lane         TEXT NOT NULL,
	stream       TEXT NOT NULL,
	record_id    TEXT NOT NULL,
	record_key   TEXT NOT NULL,
	reason       TEXT NOT NULL,
	kind         TEXT NOT NULL,
	ordinal      BIGINT NOT NULL,
	segment      TEXT NOT NULL,
	position     BIGINT NOT NULL,
	bytes        BIGINT NOT NULL,
	added_at     BIGINT NOT NULL,
	state        TEXT NOT NULL CHECK (state IN ('held', 'redelivering', 'redelivered', 'discarded')),
	UNIQUE (epoch, lane, segment, position)
);
CREATE INDEX quarantine_state ON quarantine (epoch, state, lane, id);
CREATE INDEX quarantine_installation ON quarantine (installation, id);

CREATE TABLE budgets (
	account    TEXT PRIMARY KEY,
	window_end BIGINT NOT NULL,
	used       BIGINT NOT NULL,
	granted    BIGINT NOT NULL -- by the latest statement, for its RETURNING
);

CREATE TABLE leases (
	name    TEXT PRIMARY KEY,
	holder  TEXT NOT NULL,
	expires BIGINT NOT NULL
);

CREATE TABLE marks (
	epoch  TEXT NOT NULL REFERENCES installations (epoch),
	origin TEXT NOT NULL,
	mark   BIGINT NOT NULL,
	PRIMARY KEY (epoch, origin)
);

CREATE TABLE stores (
	kind TEXT PRIMARY KEY,
	id   TEXT NOT NULL
);

-- A row to lock, so that subscribers of an app are counted one after the other.
CREATE TABLE apps (
	name TEXT PRIMARY KEY
);
CREATE TABLE subscribers (
	app   TEXT NOT NULL REFERENCES apps (name),
	epoch TEXT NOT NULL,
	PRIMARY KEY (app, epoch)
);
