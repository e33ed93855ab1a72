-- Finds the row of a record that an earlier attempt at its batch has listed under another segment.
CREATE INDEX quarantine_ordinal ON quarantine (epoch, lane, ordinal, record_id);
