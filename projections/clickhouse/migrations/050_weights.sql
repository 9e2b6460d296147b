-- Weights that a command changed stand among the notices, as strategies do.
CREATE MATERIALIZED VIEW IF NOT EXISTS turnout.to_notices_of_weights TO turnout.notices AS
SELECT event, topic, partition, offset, logged_at, event_id, request_id, source_topic, source_partition, source_offset, subject, payload
FROM turnout.log
WHERE event = 'WeightsSet';
