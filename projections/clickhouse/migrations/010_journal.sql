-- The journal of a sink: one row a flush, written before its rows. It names every partition ever read, so the last row alone
-- says where to go on: `firsts` is where the flush began in a partition, `nexts` where it ended (equal: nothing there).
-- A flush is known to be written when the next one begins, or by done = 1 of a sink that stopped in order.
CREATE TABLE IF NOT EXISTS turnout.journal
(
    sink       String,
    epoch      UInt32,
    number     UInt64,
    done       UInt8,
    version    UInt64 DEFAULT number * 2 + done,
    topics     Array(String),
    partitions Array(UInt32),
    firsts     Array(Int64),
    nexts      Array(Int64),
    at         DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (sink, epoch);

-- What the intents and positions before it knew.
INSERT INTO turnout.journal (sink, epoch, number, done, topics, partitions, firsts, nexts)
SELECT sink, epoch, max(number), min(done), groupArray(topic), groupArray(partition), groupArray(span.1), groupArray(span.2)
FROM
(
    SELECT sink, epoch, topic, partition, max(n) AS number, min(d) AS done, argMax((first, next), n) AS span
    FROM
    (
        SELECT sink, epoch, toString(topic) AS topic, partition, toUInt64(0) AS n, toUInt8(1) AS d, max(next_offset) AS next, next AS first
        FROM turnout.positions GROUP BY sink, epoch, topic, partition
        UNION ALL
        SELECT sink, epoch, r.1 AS topic, r.2 AS partition, number AS n, done AS d, r.4 + 1 AS next, if(done = 1, next, r.3) AS first
        FROM (SELECT * FROM turnout.intents FINAL ORDER BY number DESC LIMIT 1 BY sink, epoch)
        ARRAY JOIN arrayZip(topics, partitions, firsts, lasts) AS r
    )
    GROUP BY sink, epoch, topic, partition
)
GROUP BY sink, epoch;
