-- Macros over the tables and views. The optional parameter trace is a trace_id, 1 unless given: heap_at(9, trace := 2).

CREATE MACRO moment(moment_text, trace := 1) AS CASE
    WHEN moment_text = 'start' THEN coalesce(
        (SELECT min(m.seq) FROM marks m WHERE m.trace_id = trace AND m.own AND m.name = 'start'),
        (SELECT t.first_seq FROM traces t WHERE t.trace_id = trace))
    WHEN moment_text = 'end' THEN (SELECT t.end_seq FROM traces t WHERE t.trace_id = trace)
    WHEN moment_text = 'peak' THEN (SELECT t.peak_seq FROM traces t WHERE t.trace_id = trace)
    WHEN starts_with(moment_text, 'mark:') THEN
        (SELECT min(m.seq) FROM marks m WHERE m.trace_id = trace AND m.name = moment_text[6:])
    WHEN regexp_full_match(moment_text, 'gc:[0-9]+') THEN
        (SELECT min(g.stop_seq) FROM gc_collections g
         WHERE g.trace_id = trace AND g.gc_id = try_cast(moment_text[4:] AS BIGINT))
    WHEN regexp_full_match(moment_text, 'seq:[0-9]+') THEN
        (SELECT try_cast(moment_text[5:] AS BIGINT) FROM traces t
         WHERE t.trace_id = trace AND try_cast(moment_text[5:] AS BIGINT) BETWEEN t.first_seq AND t.last_seq)
    WHEN regexp_full_match(moment_text, '[0-9]+([.][0-9]+)?(s|ms|%)') THEN
        (SELECT max(l.seq) FROM timeline l
         WHERE l.trace_id = trace AND l.time_ns <= (
             SELECT p.at_ns FROM (
                 SELECT t.duration_ns, CASE
                     WHEN moment_text LIKE '%\%' ESCAPE '\'
                         THEN floor(t.duration_ns * try_cast(rtrim(moment_text, '%') AS DOUBLE) / 100)
                     WHEN moment_text LIKE '%ms' THEN round(try_cast(rtrim(moment_text, 'ms') AS DOUBLE) * 1e6)
                     ELSE round(try_cast(rtrim(moment_text, 's') AS DOUBLE) * 1e9)
                 END AS at_ns
                 FROM traces t WHERE t.trace_id = trace) p
             WHERE p.at_ns <= p.duration_ns))
END;
COMMENT ON MACRO moment IS 'The seq of an instant: start, end, peak, 1.5s, 200ms, 50%, seq:N, gc:N or mark:NAME (the first of that name); NULL when the trace has no such instant.';

-- Two branches, so that each is a plain range that the zone maps of the table can answer.
CREATE MACRO heap_at(at_seq, trace := 1) AS TABLE
SELECT * FROM allocations a WHERE a.trace_id = trace AND a.alloc_seq <= at_seq AND a.free_seq > at_seq
UNION ALL
SELECT * FROM allocations a WHERE a.trace_id = trace AND a.alloc_seq <= at_seq AND a.free_seq IS NULL;
COMMENT ON MACRO TABLE heap_at IS 'The rows of allocations that were alive after event at_seq.';

CREATE MACRO heap_between(after_seq, until_seq, trace := 1) AS TABLE
SELECT * FROM heap_at(until_seq, trace := trace) h WHERE h.alloc_seq > after_seq;
COMMENT ON MACRO TABLE heap_between IS 'The rows of allocations made after event after_seq and still alive after event until_seq.';

CREATE MACRO frames(of_stack, trace := 1) AS TABLE
WITH RECURSIVE path AS (
    SELECT s.stack_id, s.parent_id, s.code_id, s.line, s.depth FROM stacks s
    WHERE s.trace_id = trace AND s.stack_id = of_stack
    UNION ALL
    SELECT s.stack_id, s.parent_id, s.code_id, s.line, s.depth
    FROM path p JOIN stacks s ON s.stack_id = p.parent_id AND s.trace_id = trace
)
SELECT p.depth, c.filename AS file, p.line, c.qualname AS function, p.stack_id
FROM path p LEFT JOIN codes c ON c.code_id = p.code_id AND c.trace_id = trace
ORDER BY p.depth DESC;
COMMENT ON MACRO TABLE frames IS 'The call path of a stack_id, one row a frame, innermost first; depth 1 is the outermost.';

CREATE MACRO heap_tree(at_seq, trace := 1) AS TABLE
WITH own AS (
    SELECT h.stack_id, sum(h.size) AS bytes, count(*) AS blocks FROM heap_at(at_seq, trace := trace) h GROUP BY ALL
), running AS (
    SELECT s.stack_id, s.parent_id, s.code_id, s.line, s.depth, s.position, s.last_position, s.outermost,
           coalesce(o.bytes, 0) AS bytes, coalesce(o.blocks, 0) AS blocks,
           sum(coalesce(o.bytes, 0)) OVER before_and_here AS bytes_so_far,
           sum(coalesce(o.blocks, 0)) OVER before_and_here AS blocks_so_far
    FROM stacks s LEFT JOIN own o USING (stack_id)
    WHERE s.trace_id = trace
    WINDOW before_and_here AS (ORDER BY s.position ROWS UNBOUNDED PRECEDING)
)
SELECT n.stack_id, n.parent_id, n.depth, c.filename AS file, n.line, c.qualname AS function, n.code_id, n.outermost,
       n.bytes::HUGEINT AS bytes, n.blocks::BIGINT AS blocks,
       (l.bytes_so_far - n.bytes_so_far + n.bytes)::HUGEINT AS total_bytes,
       (l.blocks_so_far - n.blocks_so_far + n.blocks)::BIGINT AS total_blocks
FROM running n JOIN running l ON l.position = n.last_position
LEFT JOIN codes c ON c.trace_id = trace AND c.code_id = n.code_id
WHERE l.blocks_so_far - n.blocks_so_far + n.blocks > 0
ORDER BY n.position;
COMMENT ON MACRO TABLE heap_tree IS 'The heap after event at_seq as a call tree, parents before children: what each node holds itself (bytes, blocks) and with all below it (total_bytes, total_blocks); nodes that hold nothing are left out.';

CREATE MACRO heap_functions(at_seq, trace := 1) AS TABLE
SELECT n.file, n.function, sum(n.bytes)::HUGEINT AS bytes, sum(n.blocks)::BIGINT AS blocks,
       (sum(n.total_bytes) FILTER (n.outermost))::HUGEINT AS total_bytes,
       (sum(n.total_blocks) FILTER (n.outermost))::BIGINT AS total_blocks
FROM heap_tree(at_seq, trace := trace) n
GROUP BY n.code_id, n.file, n.function ORDER BY total_bytes DESC, n.function, n.file;
COMMENT ON MACRO TABLE heap_functions IS 'The heap after event at_seq by function: what it allocated itself (bytes, blocks), and with all that it called (total_bytes, total_blocks); most first.';

CREATE MACRO call_path(of_stack, trace := 1) AS (
    SELECT string_agg(format('{} ({}:{})', coalesce(c.qualname, '<unknown>'),
                             coalesce(regexp_extract(c.filename, '[^/]*$'), '<unknown>'), s.line), ';' ORDER BY s.depth)
    FROM stacks leaf
    JOIN stacks s ON s.trace_id = trace AND s.position <= leaf.position AND s.last_position >= leaf.position
    LEFT JOIN codes c ON c.trace_id = trace AND c.code_id = s.code_id
    WHERE leaf.trace_id = trace AND leaf.stack_id = of_stack
);
COMMENT ON MACRO call_path IS 'The call path of a stack_id in one line, outermost frame first: f (a.py:3);g (a.py:9). frames() gives it as rows.';

CREATE MACRO arenas_at(at_seq, trace := 1) AS TABLE
WITH arena AS (
    SELECT r.address, r.size FROM arenas r
    WHERE r.trace_id = trace AND r.alloc_seq <= at_seq AND (r.free_seq > at_seq OR r.free_seq IS NULL)
), placed AS (
    SELECT r.address, count(*) AS blocks, sum(h.size) AS bytes
    FROM heap_at(at_seq, trace := trace) h ASOF JOIN arena r ON h.address >= r.address
    WHERE h.address < r.address + r.size GROUP BY ALL
)
SELECT r.address, r.size, coalesce(p.blocks, 0)::BIGINT AS live_blocks, coalesce(p.bytes, 0)::HUGEINT AS live_bytes,
       coalesce(p.bytes, 0) / r.size AS live_share
FROM arena r LEFT JOIN placed p USING (address) ORDER BY r.address;
COMMENT ON MACRO TABLE arenas_at IS 'Arenas that were there after event at_seq, with the blocks of the recording alive in each and their share of it (0 to 1).';

CREATE MACRO timeline_in(steps, trace := 1) AS TABLE
WITH cut AS (
    SELECT l.seq, l.time_ns, l.live_bytes, l.live_blocks,
           least(steps - 1, (l.time_ns * steps) // greatest(t.duration_ns, 1))::BIGINT AS step
    FROM timeline l JOIN traces t USING (trace_id) WHERE l.trace_id = trace
)
SELECT c.step, min(c.time_ns) AS from_ns, max(c.time_ns) AS to_ns, max(c.live_bytes) AS most_bytes,
       arg_max(c.live_bytes, c.seq) AS bytes, arg_max(c.live_blocks, c.seq) AS blocks
FROM cut c GROUP BY c.step ORDER BY c.step;
COMMENT ON MACRO TABLE timeline_in IS 'The timeline in so many steps of equal time: the most bytes alive within each, and what was alive at its last event; steps without an event are left out.';

CREATE MACRO temporary(within_events, trace := 1) AS TABLE
WITH counted AS (
    SELECT e.kind, e.alloc_seq, e.thread_id,
           row_number() OVER (PARTITION BY e.thread_id ORDER BY e.seq) AS number
    FROM events e WHERE e.trace_id = trace AND e.kind IN ('allocation', 'free')
), died AS (
    SELECT b.alloc_seq, f.number - b.number AS events
    FROM counted b JOIN counted f ON f.alloc_seq = b.alloc_seq AND f.thread_id = b.thread_id
    WHERE b.kind = 'allocation' AND f.kind = 'free' AND f.number - b.number BETWEEN 1 AND within_events
)
SELECT a.*, d.events FROM died d JOIN allocations a ON a.trace_id = trace AND a.alloc_seq = d.alloc_seq;
COMMENT ON MACRO TABLE temporary IS 'The rows of allocations whose block was freed by the thread that made it, within so many of its own allocations and frees; events: how many.';

CREATE MACRO heap_by(at_seq, grouping_name, trace := 1) AS TABLE
WITH RECURSIVE heap AS (
    SELECT h.stack_id, h.type_id, h.thread_id, h.domain, sum(h.size) AS bytes, count(*) AS blocks
    FROM heap_at(at_seq, trace := trace) h GROUP BY ALL
), path AS (
    SELECT DISTINCT h.stack_id AS leaf_id, h.stack_id AS node_id FROM heap h WHERE grouping_name = 'stack'
    UNION ALL
    SELECT p.leaf_id, s.parent_id
    FROM path p JOIN stacks s ON s.stack_id = p.node_id AND s.trace_id = trace
    WHERE s.parent_id > 0
), call_path AS (
    SELECT p.leaf_id, string_agg(
        format('{} ({}:{})', coalesce(c.qualname, '<unknown>'),
               coalesce(regexp_extract(c.filename, '[^/]*$'), '<unknown>'), s.line), ';' ORDER BY s.depth) AS frames
    FROM path p
    JOIN stacks s ON s.stack_id = p.node_id AND s.trace_id = trace
    LEFT JOIN codes c ON c.code_id = s.code_id AND c.trace_id = trace
    GROUP BY p.leaf_id
), labelled AS (
    SELECT coalesce(CASE grouping_name
               WHEN 'site' THEN w.site
               WHEN 'function' THEN format('{} ({})', w.function, w.file)
               WHEN 'file' THEN w.file
               WHEN 'type' THEN y.name
               WHEN 'stack' THEN k.frames
               WHEN 'thread' THEN r.name
               WHEN 'domain' THEN h.domain::VARCHAR
               ELSE error('heap_by groups by site, function, file, type, stack, thread or domain')
           END, '<unknown>') AS key, h.bytes, h.blocks
    FROM heap h
    LEFT JOIN stack_sites w ON w.trace_id = trace AND w.stack_id = h.stack_id
    LEFT JOIN call_path k ON k.leaf_id = h.stack_id
    LEFT JOIN types y ON y.trace_id = trace AND y.type_id = h.type_id
    LEFT JOIN threads r ON r.trace_id = trace AND r.thread_id = h.thread_id
)
SELECT g.key, sum(g.bytes) AS bytes, sum(g.blocks)::BIGINT AS blocks
FROM labelled g GROUP BY g.key ORDER BY 2 DESC, 1;
COMMENT ON MACRO TABLE heap_by IS 'The heap after event at_seq grouped by site, function, file, type, stack, thread or domain: key, bytes, blocks; largest first.';

CREATE MACRO heap_growth(from_seq, to_seq, grouping_name, trace := 1) AS TABLE
SELECT key, coalesce(b.bytes, 0) - coalesce(a.bytes, 0) AS bytes,
       coalesce(b.blocks, 0) - coalesce(a.blocks, 0) AS blocks,
       coalesce(a.bytes, 0) AS bytes_before, coalesce(b.bytes, 0) AS bytes_after,
       coalesce(a.blocks, 0) AS blocks_before, coalesce(b.blocks, 0) AS blocks_after
FROM heap_by(from_seq, grouping_name, trace := trace) a
FULL JOIN heap_by(to_seq, grouping_name, trace := trace) b USING (key)
WHERE coalesce(a.bytes, 0) <> coalesce(b.bytes, 0) OR coalesce(a.blocks, 0) <> coalesce(b.blocks, 0)
ORDER BY 2 DESC, 3 DESC, 1;
COMMENT ON MACRO TABLE heap_growth IS 'How the groups of heap_by changed from one event to another, most growth first; groups that did not change are left out.';
