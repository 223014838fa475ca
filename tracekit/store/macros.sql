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

-- Its aliases are long ones: a column that is passed in, like s.stack_id, must not meet one of the same name.
CREATE MACRO call_path(of_stack, trace := 1) AS (
    SELECT string_agg(format('{} ({}:{})', coalesce(path_code.qualname, '<unknown>'),
                             coalesce(regexp_extract(path_code.filename, '[^/]*$'), '<unknown>'), path_node.line), ';'
                      ORDER BY path_node.depth)
    FROM stacks path_leaf
    JOIN stacks path_node ON path_node.trace_id = trace AND path_node.position <= path_leaf.position
                             AND path_node.last_position >= path_leaf.position
    LEFT JOIN codes path_code ON path_code.trace_id = trace AND path_code.code_id = path_node.code_id
    WHERE path_leaf.trace_id = trace AND path_leaf.stack_id = of_stack
);
COMMENT ON MACRO call_path IS 'The call path of a stack_id in one line, outermost frame first: f (a.py:3);g (a.py:9). frames() gives it as rows.';

-- Arenas begin at a page: blocks are added up by page first, because an ASOF JOIN of every block takes 10 times as long.
CREATE MACRO arenas_at(at_seq, trace := 1) AS TABLE
WITH arena AS (
    SELECT r.address, r.size FROM arenas r
    WHERE r.trace_id = trace AND (r.alloc_seq <= at_seq OR r.alloc_seq IS NULL)
      AND (r.free_seq > at_seq OR r.free_seq IS NULL)
), page AS (
    SELECT h.address // 4096 * 4096 AS address, count(*) AS blocks, sum(h.size) AS bytes
    FROM heap_at(at_seq, trace := trace) h GROUP BY 1
), placed AS (
    SELECT r.address, sum(p.blocks) AS blocks, sum(p.bytes) AS bytes
    FROM page p ASOF JOIN arena r ON p.address >= r.address
    WHERE p.address < r.address + r.size GROUP BY ALL
)
SELECT r.address, r.size, coalesce(p.blocks, 0)::BIGINT AS live_blocks, coalesce(p.bytes, 0)::HUGEINT AS live_bytes,
       coalesce(p.bytes, 0) / r.size AS live_share
FROM arena r LEFT JOIN placed p USING (address) ORDER BY r.address;
COMMENT ON MACRO TABLE arenas_at IS 'Arenas that were there after event at_seq, with the blocks of the recording alive in each and their share of it (0 to 1).';

-- Pools are aligned to their size, so that a block says which pool it is in; its header takes 48 bytes. A debug hook puts
-- 16 bytes before a block and 8 behind it.
CREATE MACRO pools_at(at_seq, trace := 1) AS TABLE
WITH built AS (
    SELECT t.pool_size, t.alignment, t.small_request_threshold AS threshold,
           CASE WHEN t.allocator IN ('debug', 'pymalloc_debug') THEN 16 ELSE 0 END AS guard
    FROM traces t WHERE t.trace_id = trace
), block AS (
    SELECT h.address - b.guard AS address, h.size + b.guard * 3 // 2 AS size, 0 AS class_told
    FROM heap_at(at_seq, trace := trace) h, built b
    UNION ALL
    SELECT o.address, o.block_size, o.block_size FROM older_blocks o
    WHERE o.trace_id = trace AND (o.free_seq > at_seq OR o.free_seq IS NULL)
), pool AS (
    SELECT k.address // b.pool_size * b.pool_size AS address, max(k.class_told) AS class_told,
           (max(k.size) + b.alignment - 1) // b.alignment * b.alignment AS least,
           list_reduce(list(k.address % b.pool_size - 48), lambda x, y: gcd(x, y)) AS step,
           count(*) AS blocks, sum(k.size) AS bytes, any_value(b) AS b
    FROM block k, built b WHERE k.size <= b.threshold GROUP BY 1, b.alignment
), arena AS (
    SELECT r.address, r.size FROM arenas r
    WHERE r.trace_id = trace AND (r.alloc_seq <= at_seq OR r.alloc_seq IS NULL)
      AND (r.free_seq > at_seq OR r.free_seq IS NULL)
)
SELECT p.address, r.address AS arena,
       coalesce(nullif(p.class_told, 0),
                list_filter(range(p.least, p.b.threshold + 1, p.b.alignment), lambda c: p.step % c = 0)[1],
                p.least)::BIGINT AS size_class,
       p.blocks, p.bytes
FROM pool p ASOF JOIN arena r ON p.address >= r.address
WHERE p.address + p.b.pool_size <= r.address + r.size ORDER BY p.address;
COMMENT ON MACRO TABLE pools_at IS 'Pools of the object allocator that held blocks after event at_seq, those older than the recording too: their arena, the bytes of their size class (an estimate: the smallest that all their blocks fit), blocks, and bytes that were asked for.';

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

-- A library's modules are below the last of these folders in its path, a program's own below the folder it ran in.
CREATE MACRO module_name(filename, folder) AS CASE
    WHEN regexp_full_match(filename, '<frozen [^>]+>') THEN filename[9:-2]
    WHEN starts_with(filename, '<') OR NOT regexp_matches(filename, '[.]pyc?$') THEN filename
    WHEN regexp_matches(filename, '(^|/)(site-packages|dist-packages|lib(64)?/python[0-9.]+t?|python[0-9]+[.]zip)/')
        THEN regexp_replace(regexp_replace(regexp_replace(filename,
            '^(.*/)?(site-packages|dist-packages|lib(64)?/python[0-9.]+t?|python[0-9]+[.]zip)/', ''),
            '(/__init__)?[.]pyc?$', ''), '/', '.', 'g')
    WHEN folder <> '/' AND starts_with(filename, folder || '/')
        THEN replace(regexp_replace(filename[length(folder) + 2:], '(/__init__)?[.]pyc?$', ''), '/', '.')
    WHEN NOT starts_with(filename, '/') AND NOT contains(filename, '../')
        THEN replace(regexp_replace(regexp_replace(filename, '^([.]/)+', ''), '(/__init__)?[.]pyc?$', ''), '/', '.')
    ELSE filename
END;
COMMENT ON MACRO module_name IS 'The dotted name of a module, as far as its file tells: what comes after the last site-packages, dist-packages or lib/pythonX.Y in the path, or after folder (traces.cwd), with /__init__ and .py taken away; <frozen NAME> is NAME; the file itself where none of these holds.';

CREATE MACRO heap_blocks(at_seq, trace := 1) AS TABLE
SELECT h.alloc_seq, h.free_seq, h.allocated_ns,
       coalesce((SELECT arg_min(l.time_ns, l.seq) FROM timeline l WHERE l.trace_id = trace AND l.seq >= at_seq),
                t.duration_ns) - h.allocated_ns AS age_ns,
       h.freed_ns, h.address, h.size, h.domain::VARCHAR AS domain, h.thread_id, r.name AS thread, h.type_id,
       y.name AS type, h.stack_id, s.file, s.line, s.function, s.site, module_name(s.file, t.cwd) AS module
FROM heap_at(at_seq, trace := trace) h
JOIN traces t ON t.trace_id = trace
LEFT JOIN threads r ON r.trace_id = trace AND r.thread_id = h.thread_id
LEFT JOIN types y ON y.trace_id = trace AND y.type_id = h.type_id
LEFT JOIN stack_sites s ON s.trace_id = trace AND s.stack_id = h.stack_id;
COMMENT ON MACRO TABLE heap_blocks IS 'The blocks that were alive after event at_seq, one row each, with names (NULL: not known) and their age then; free_seq and freed_ns say when each was freed afterwards.';

CREATE MACRO heap_by(at_seq, grouping_name, trace := 1, made_after := -1) AS TABLE
WITH RECURSIVE clock AS (
    SELECT t.cwd, t.allocator, t.alignment, t.small_request_threshold, coalesce(
        (SELECT arg_min(l.time_ns, l.seq) FROM timeline l WHERE l.trace_id = trace AND l.seq >= at_seq), t.duration_ns)
        AS at_ns
    FROM traces t WHERE t.trace_id = trace
), heap AS (
    SELECT h.stack_id, h.type_id, h.thread_id, h.domain, CASE
               WHEN grouping_name = 'age' THEN len(list_filter(
                   [1, 10, 100, 1000, 10000, 60000, 600000, 3600000, 36000000], lambda ms: (k.at_ns - h.allocated_ns) // 1000000 >= ms))
               WHEN grouping_name <> 'size_class' THEN NULL
               WHEN h.domain IN ('mem', 'object') AND k.allocator = 'pymalloc' AND h.size <= k.small_request_threshold
                   THEN greatest(1, (h.size + k.alignment - 1) // k.alignment) * k.alignment
               ELSE -length(bin(greatest(h.size, 8)))
           END AS class, sum(h.size) AS bytes, count(*) AS blocks
    FROM heap_between(made_after, at_seq, trace := trace) h, clock k GROUP BY ALL
), running AS (
    SELECT s.stack_id, s.parent_id, s.code_id, s.line, s.position, s.last_position, o.stack_id IS NOT NULL AS live,
           count(o.stack_id) OVER (ORDER BY s.position ROWS UNBOUNDED PRECEDING) AS live_so_far
    FROM stacks s LEFT JOIN (SELECT DISTINCT h.stack_id FROM heap h) o USING (stack_id)
    WHERE s.trace_id = trace AND grouping_name = 'stack'
), node AS MATERIALIZED (
    SELECT n.stack_id, n.parent_id, format('{} ({}:{})', coalesce(c.qualname, '<unknown>'),
               coalesce(regexp_extract(c.filename, '[^/]*$'), '<unknown>'), n.line) AS frame
    FROM running n JOIN running l ON l.position = n.last_position
    LEFT JOIN codes c ON c.trace_id = trace AND c.code_id = n.code_id
    WHERE n.live OR l.live_so_far > n.live_so_far
), path AS (
    SELECT n.stack_id, n.frame AS frames FROM node n WHERE n.parent_id NOT IN (SELECT m.stack_id FROM node m)
    UNION ALL
    SELECT n.stack_id, p.frames || ';' || n.frame FROM path p JOIN node n ON n.parent_id = p.stack_id
), labelled AS (
    SELECT coalesce(CASE grouping_name
               WHEN 'site' THEN w.site
               WHEN 'function' THEN format('{} ({})', w.function, w.file)
               WHEN 'file' THEN w.file
               WHEN 'module' THEN module_name(w.file, k.cwd)
               WHEN 'type' THEN y.name
               WHEN 'stack' THEN p.frames
               WHEN 'thread' THEN r.name
               WHEN 'domain' THEN h.domain::VARCHAR
               WHEN 'age' THEN ['< 1 ms', '1 ms to 10 ms', '10 ms to 100 ms', '100 ms to 1 s', '1 s to 10 s', '10 s to 1 min',
                                '1 min to 10 min', '10 min to 1 h', '1 h to 10 h', '10 h and more'][h.class + 1]
               WHEN 'size_class' THEN CASE
                   WHEN h.class >= 0 THEN format('{} B (pymalloc)', h.class)
                   WHEN h.class = -4 THEN '< 16 B'
                   ELSE format('{} {} to {} {}',
                       1 << (-h.class - 1) % 10, ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'][(-h.class - 1) // 10 + 1],
                       1 << -h.class % 10, ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'][-h.class // 10 + 1])
                   END
               ELSE error('heap_by groups by site, function, file, module, type, stack, thread, domain, size_class or age')
           END, '<unknown>') AS key, CASE WHEN grouping_name = 'age' THEN h.class END AS place, h.bytes, h.blocks
    FROM heap h CROSS JOIN clock k
    LEFT JOIN stack_sites w ON w.trace_id = trace AND w.stack_id = h.stack_id
    LEFT JOIN path p ON p.stack_id = h.stack_id
    LEFT JOIN types y ON y.trace_id = trace AND y.type_id = h.type_id
    LEFT JOIN threads r ON r.trace_id = trace AND r.thread_id = h.thread_id
)
SELECT g.key, sum(g.bytes) AS bytes, sum(g.blocks)::BIGINT AS blocks
FROM labelled g GROUP BY g.key, g.place ORDER BY g.place, 2 DESC, 1;
COMMENT ON MACRO TABLE heap_by IS 'The heap after event at_seq grouped by site, function, file, module, type, stack, thread, domain, size_class (pymalloc''s, else from one power of two to the next) or age: key, bytes, blocks; largest first, ages youngest first. With made_after only what was allocated after that event.';

CREATE MACRO heap_growth(from_seq, to_seq, grouping_name, trace := 1) AS TABLE
WITH paired AS (
    SELECT key, coalesce(a.bytes, 0) AS bytes_before, coalesce(b.bytes, 0) AS bytes_after,
           coalesce(a.blocks, 0) AS blocks_before, coalesce(b.blocks, 0) AS blocks_after,
           coalesce(m.bytes, 0) AS made_bytes, coalesce(m.blocks, 0) AS made_blocks
    FROM heap_by(from_seq, grouping_name, trace := trace) a
    FULL JOIN heap_by(to_seq, grouping_name, trace := trace) b USING (key)
    LEFT JOIN heap_by(to_seq, grouping_name, trace := trace, made_after := from_seq) m USING (key)
)
SELECT p.key, p.bytes_after - p.bytes_before AS bytes, p.blocks_after - p.blocks_before AS blocks,
       p.bytes_before, p.bytes_after, p.blocks_before, p.blocks_after,
       CASE WHEN p.blocks_before = 0 THEN 'new'
            WHEN p.blocks_after = 0 THEN 'gone'
            WHEN (p.bytes_after, p.blocks_after) > (p.bytes_before, p.blocks_before) THEN 'grown'
            ELSE 'shrunk' END AS status,
       p.made_bytes, p.made_blocks
FROM paired p WHERE p.bytes_before <> p.bytes_after OR p.blocks_before <> p.blocks_after
ORDER BY 2 DESC, 3 DESC, 1;
COMMENT ON MACRO TABLE heap_growth IS 'How the groups of heap_by changed from one event to another, most growth first; groups that did not change are left out. status: new (no block before), gone (none after), else grown or shrunk, by bytes, and where these are equal by blocks. made: of what is there after, what was allocated in between.';
