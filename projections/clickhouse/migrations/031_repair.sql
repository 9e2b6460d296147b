-- A repair empties the rollups; a part that is removed because it is empty takes its deduplication tokens along, and the last batch
-- written once more after the repair would be counted twice.
ALTER TABLE turnout.provider_minute MODIFY SETTING remove_empty_parts = 0;
ALTER TABLE turnout.tenant_hour MODIFY SETTING remove_empty_parts = 0;
