-- Views over the tables of schema.sql.

CREATE VIEW events AS
SELECT trace_id, alloc_seq AS seq, allocated_ns AS time_ns, 'allocation'::event_kind AS kind, thread_id,
       address, size, domain, stack_id, alloc_seq, NULL::free_cause AS cause, type_id
FROM allocations
UNION ALL
SELECT trace_id, free_seq, freed_ns, 'free', freed_thread_id, address, size, domain, stack_id, alloc_seq, freed_by, type_id
FROM allocations WHERE free_seq IS NOT NULL
UNION ALL
SELECT trace_id, seq, time_ns, 'free', thread_id, CASE WHEN alloc_seq IS NULL THEN address END, NULL, NULL, NULL, alloc_seq, cause, type_id
FROM unmatched_frees
UNION ALL
SELECT trace_id, start_seq, started_ns, 'gc-start', thread_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM gc_collections WHERE start_seq IS NOT NULL
UNION ALL
SELECT trace_id, stop_seq, stopped_ns, 'gc-stop', thread_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM gc_collections WHERE stop_seq IS NOT NULL
UNION ALL
SELECT trace_id, seq, time_ns, 'mark', thread_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM marks
UNION ALL
SELECT trace_id, alloc_seq, allocated_ns, 'arena-allocation', thread_id, address, size, NULL, NULL, NULL, NULL, NULL
FROM arenas WHERE alloc_seq IS NOT NULL
UNION ALL
SELECT trace_id, free_seq, freed_ns, 'arena-free', freed_thread_id, address, size, NULL, NULL, NULL, NULL, NULL
FROM arenas WHERE free_seq IS NOT NULL;
COMMENT ON VIEW events IS 'Every event of every kind, one row each; ORDER BY seq gives their order.';
COMMENT ON COLUMN events.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN events.seq IS 'Number of the event in its recording.';
COMMENT ON COLUMN events.time_ns IS 'Time of the event.';
COMMENT ON COLUMN events.kind IS 'What the event says.';
COMMENT ON COLUMN events.thread_id IS 'The thread it happened on (threads); 0: not known.';
COMMENT ON COLUMN events.address IS 'Address of the block or arena.';
COMMENT ON COLUMN events.size IS 'Bytes of the block or arena.';
COMMENT ON COLUMN events.domain IS 'The allocator of the block.';
COMMENT ON COLUMN events.stack_id IS 'The call path that allocated the block, also for its free (stacks).';
COMMENT ON COLUMN events.alloc_seq IS 'The allocation that the event begins or ends (allocations).';
COMMENT ON COLUMN events.cause IS 'Why the block was given back.';
COMMENT ON COLUMN events.type_id IS 'Type of the object that died in the block (types); 0: not known.';

CREATE VIEW stack_sites AS
SELECT s.trace_id, s.stack_id, coalesce(c.filename, '<unknown>') AS file, s.line,
       coalesce(c.qualname, '<unknown>') AS function,
       format('{}:{} ({})', coalesce(c.filename, '<unknown>'), s.line, coalesce(c.qualname, '<unknown>')) AS site
FROM stacks s LEFT JOIN codes c USING (trace_id, code_id);
COMMENT ON VIEW stack_sites IS 'The innermost frame of every call path: where an allocation was made.';
COMMENT ON COLUMN stack_sites.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN stack_sites.stack_id IS 'The call path (stacks).';
COMMENT ON COLUMN stack_sites.file IS 'File of the innermost frame.';
COMMENT ON COLUMN stack_sites.line IS 'Line of the innermost frame.';
COMMENT ON COLUMN stack_sites.function IS 'Qualified name of the function of the innermost frame.';
COMMENT ON COLUMN stack_sites.site IS 'All three as FILE:LINE (FUNCTION).';

CREATE VIEW sites AS
WITH by_stack AS (
    SELECT a.trace_id, a.stack_id, count(*) AS allocations, sum(a.size) AS allocated_bytes,
           max(a.size) AS largest_bytes,
           count(*) FILTER (a.free_seq IS NULL OR a.free_seq > t.end_seq) AS live_blocks,
           coalesce(sum(a.size) FILTER (a.free_seq IS NULL OR a.free_seq > t.end_seq), 0) AS live_bytes
    FROM allocations a JOIN traces t USING (trace_id)
    WHERE a.alloc_seq <= t.end_seq
    GROUP BY ALL
)
SELECT b.trace_id, coalesce(s.file, '<unknown>') AS file, s.line, coalesce(s.function, '<unknown>') AS function,
       sum(b.allocations)::BIGINT AS allocations, sum(b.allocated_bytes) AS allocated_bytes,
       max(b.largest_bytes) AS largest_bytes, sum(b.live_blocks)::BIGINT AS live_blocks,
       sum(b.live_bytes) AS live_bytes
FROM by_stack b LEFT JOIN stack_sites s USING (trace_id, stack_id)
GROUP BY b.trace_id, s.file, s.line, s.function;
COMMENT ON VIEW sites IS 'What each line of the program allocated, and what of it was alive at the end.';
COMMENT ON COLUMN sites.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN sites.file IS 'The file; <unknown> where no call path was recorded.';
COMMENT ON COLUMN sites.line IS 'The line.';
COMMENT ON COLUMN sites.function IS 'Qualified name of the function.';
COMMENT ON COLUMN sites.allocations IS 'Number of allocations made there.';
COMMENT ON COLUMN sites.allocated_bytes IS 'Sum of their sizes.';
COMMENT ON COLUMN sites.largest_bytes IS 'Size of the largest of them.';
COMMENT ON COLUMN sites.live_blocks IS 'How many of them were alive at the end.';
COMMENT ON COLUMN sites.live_bytes IS 'Bytes of those.';

-- Sums over the call tree: stacks are numbered so that a subtree is a range, see stacks.position.
CREATE VIEW functions AS
WITH own AS (
    SELECT a.trace_id, a.stack_id, count(*) AS allocations, sum(a.size) AS allocated_bytes,
           count(*) FILTER (a.free_seq IS NULL OR a.free_seq > t.end_seq) AS live_blocks,
           coalesce(sum(a.size) FILTER (a.free_seq IS NULL OR a.free_seq > t.end_seq), 0) AS live_bytes
    FROM allocations a JOIN traces t USING (trace_id)
    WHERE a.alloc_seq <= t.end_seq
    GROUP BY ALL
), running AS (
    SELECT s.trace_id, s.code_id, s.position, s.last_position, s.outermost,
           coalesce(o.allocations, 0) AS allocations, coalesce(o.allocated_bytes, 0) AS allocated_bytes,
           coalesce(o.live_blocks, 0) AS live_blocks, coalesce(o.live_bytes, 0) AS live_bytes,
           sum(coalesce(o.allocations, 0)) OVER before_and_here AS allocations_so_far,
           sum(coalesce(o.allocated_bytes, 0)) OVER before_and_here AS allocated_bytes_so_far,
           sum(coalesce(o.live_blocks, 0)) OVER before_and_here AS live_blocks_so_far,
           sum(coalesce(o.live_bytes, 0)) OVER before_and_here AS live_bytes_so_far
    FROM stacks s LEFT JOIN own o USING (trace_id, stack_id)
    WINDOW before_and_here AS (PARTITION BY s.trace_id ORDER BY s.position ROWS UNBOUNDED PRECEDING)
), summed AS (
    SELECT n.trace_id, n.code_id, sum(n.allocations) AS allocations, sum(n.allocated_bytes) AS allocated_bytes,
           sum(n.live_blocks) AS live_blocks, sum(n.live_bytes) AS live_bytes,
           sum(l.allocations_so_far - n.allocations_so_far + n.allocations) FILTER (n.outermost) AS total_allocations,
           sum(l.allocated_bytes_so_far - n.allocated_bytes_so_far + n.allocated_bytes) FILTER (n.outermost)
               AS total_allocated_bytes,
           sum(l.live_blocks_so_far - n.live_blocks_so_far + n.live_blocks) FILTER (n.outermost) AS total_live_blocks,
           sum(l.live_bytes_so_far - n.live_bytes_so_far + n.live_bytes) FILTER (n.outermost) AS total_live_bytes
    FROM running n JOIN running l ON l.trace_id = n.trace_id AND l.position = n.last_position
    GROUP BY ALL
)
SELECT m.trace_id, c.filename AS file, c.first_line AS line, c.qualname AS function,
       sum(m.allocations)::BIGINT AS allocations, sum(m.allocated_bytes)::HUGEINT AS allocated_bytes,
       sum(m.live_blocks)::BIGINT AS live_blocks, sum(m.live_bytes)::HUGEINT AS live_bytes,
       coalesce(sum(m.total_allocations), 0)::BIGINT AS total_allocations,
       coalesce(sum(m.total_allocated_bytes), 0)::HUGEINT AS total_allocated_bytes,
       coalesce(sum(m.total_live_blocks), 0)::BIGINT AS total_live_blocks,
       coalesce(sum(m.total_live_bytes), 0)::HUGEINT AS total_live_bytes
FROM summed m JOIN codes c USING (trace_id, code_id)
GROUP BY m.trace_id, c.filename, c.first_line, c.qualname, c.code_id;
COMMENT ON VIEW functions IS 'What each code object allocated itself, and with all that it called; what of it was alive at the end.';
COMMENT ON COLUMN functions.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN functions.file IS 'Its file.';
COMMENT ON COLUMN functions.line IS 'Its first line.';
COMMENT ON COLUMN functions.function IS 'Its qualified name.';
COMMENT ON COLUMN functions.allocations IS 'Number of allocations that it made itself.';
COMMENT ON COLUMN functions.allocated_bytes IS 'Sum of their sizes.';
COMMENT ON COLUMN functions.live_blocks IS 'How many of them were alive at the end.';
COMMENT ON COLUMN functions.live_bytes IS 'Bytes of those.';
COMMENT ON COLUMN functions.total_allocations IS 'Number of allocations made by it or by what it called; once, however often it is on the path.';
COMMENT ON COLUMN functions.total_allocated_bytes IS 'Sum of their sizes.';
COMMENT ON COLUMN functions.total_live_blocks IS 'How many of them were alive at the end.';
COMMENT ON COLUMN functions.total_live_bytes IS 'Bytes of those.';

CREATE VIEW files AS
SELECT s.trace_id, s.file, sum(s.allocations)::BIGINT AS allocations, sum(s.allocated_bytes)::HUGEINT AS allocated_bytes,
       sum(s.live_blocks)::BIGINT AS live_blocks, sum(s.live_bytes)::HUGEINT AS live_bytes
FROM sites s GROUP BY s.trace_id, s.file;
COMMENT ON VIEW files IS 'What the code of each file allocated itself, and what of it was alive at the end.';
COMMENT ON COLUMN files.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN files.file IS 'The file; <unknown> where no call path was recorded.';
COMMENT ON COLUMN files.allocations IS 'Number of allocations.';
COMMENT ON COLUMN files.allocated_bytes IS 'Sum of their sizes.';
COMMENT ON COLUMN files.live_blocks IS 'How many of them were alive at the end.';
COMMENT ON COLUMN files.live_bytes IS 'Bytes of those.';

CREATE VIEW allocated_types AS
SELECT a.trace_id, coalesce(y.name, '<unknown>') AS type, count(*) AS allocations, sum(a.size) AS allocated_bytes,
       count(*) FILTER (a.free_seq IS NULL OR a.free_seq > t.end_seq) AS live_blocks,
       coalesce(sum(a.size) FILTER (a.free_seq IS NULL OR a.free_seq > t.end_seq), 0) AS live_bytes,
       count(*) FILTER (a.freed_by = 'gc') AS collected_blocks
FROM allocations a JOIN traces t USING (trace_id)
LEFT JOIN types y ON y.trace_id = a.trace_id AND y.type_id = a.type_id
WHERE a.alloc_seq <= t.end_seq
GROUP BY a.trace_id, coalesce(y.name, '<unknown>');
COMMENT ON VIEW allocated_types IS 'What was allocated for objects of each type, what of it was alive at the end, and what only the garbage collector freed.';
COMMENT ON COLUMN allocated_types.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN allocated_types.type IS 'Name of the type; <unknown>: not an object, or not known.';
COMMENT ON COLUMN allocated_types.allocations IS 'Number of allocations.';
COMMENT ON COLUMN allocated_types.allocated_bytes IS 'Sum of their sizes.';
COMMENT ON COLUMN allocated_types.live_blocks IS 'How many of them were alive at the end.';
COMMENT ON COLUMN allocated_types.live_bytes IS 'Bytes of those.';
COMMENT ON COLUMN allocated_types.collected_blocks IS 'How many of them the garbage collector freed.';

CREATE VIEW lifetimes AS
SELECT a.trace_id, (a.free_seq - a.alloc_seq).log2().floor()::INTEGER AS power,
       count(*) AS blocks, sum(a.size) AS bytes, median(a.freed_ns - a.allocated_ns)::BIGINT AS median_ns
FROM allocations a WHERE a.free_seq IS NOT NULL GROUP BY ALL;
COMMENT ON VIEW lifetimes IS 'How long freed blocks lived, in powers of two of events: from 2^power events to twice as many.';
COMMENT ON COLUMN lifetimes.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN lifetimes.power IS 'Lives of 2^power events and more, less than twice as many.';
COMMENT ON COLUMN lifetimes.blocks IS 'Number of blocks.';
COMMENT ON COLUMN lifetimes.bytes IS 'Sum of their sizes.';
COMMENT ON COLUMN lifetimes.median_ns IS 'Median of their lives in time.';

CREATE VIEW size_classes AS
SELECT a.trace_id, c.size_class, count(*) AS allocations, sum(a.size) AS allocated_bytes,
       sum(c.size_class - a.size) AS rounded_bytes,
       count(*) FILTER (a.free_seq IS NULL OR a.free_seq > t.end_seq) AS live_blocks,
       coalesce(sum(a.size) FILTER (a.free_seq IS NULL OR a.free_seq > t.end_seq), 0) AS live_bytes
FROM allocations a JOIN traces t USING (trace_id),
     LATERAL (SELECT CASE WHEN a.domain IN ('mem', 'object') AND t.allocator = 'pymalloc'
                               AND a.size <= t.small_request_threshold
                          THEN greatest(1, (a.size + t.alignment - 1) // t.alignment) * t.alignment END AS size_class) c
WHERE a.alloc_seq <= t.end_seq
GROUP BY a.trace_id, c.size_class;
COMMENT ON VIEW size_classes IS 'What was asked of each size class of the object allocator; NULL: passed on to malloc, because it is large or of another domain.';
COMMENT ON COLUMN size_classes.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN size_classes.size_class IS 'Bytes of a block of the class; NULL: not from the object allocator.';
COMMENT ON COLUMN size_classes.allocations IS 'Number of allocations.';
COMMENT ON COLUMN size_classes.allocated_bytes IS 'Sum of their sizes.';
COMMENT ON COLUMN size_classes.rounded_bytes IS 'Bytes lost by rounding the sizes up; NULL where size_class is.';
COMMENT ON COLUMN size_classes.live_blocks IS 'How many of them were alive at the end.';
COMMENT ON COLUMN size_classes.live_bytes IS 'Bytes of those.';

CREATE VIEW collections AS
WITH freed AS (
    SELECT g.trace_id, g.start_seq, count(*) AS blocks, sum(a.size) AS bytes
    FROM allocations a ASOF JOIN (SELECT trace_id, start_seq, stop_seq FROM gc_collections WHERE start_seq IS NOT NULL) g
        ON a.trace_id = g.trace_id AND a.free_seq > g.start_seq
    WHERE a.freed_by = 'gc' AND (g.stop_seq IS NULL OR a.free_seq < g.stop_seq)
    GROUP BY ALL
)
SELECT g.trace_id, g.gc_id, g.generation, g.start_seq, g.stop_seq, g.started_ns, g.duration_ns, g.collected,
       g.uncollectable, coalesce(f.blocks, 0) AS freed_blocks, coalesce(f.bytes, 0)::HUGEINT AS freed_bytes
FROM gc_collections g LEFT JOIN freed f ON f.trace_id = g.trace_id AND f.start_seq = g.start_seq;
COMMENT ON VIEW collections IS 'The collections of the garbage collector with the blocks of the recording that each freed.';
COMMENT ON COLUMN collections.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN collections.gc_id IS 'Number of the collection, from 0; the N of the moment gc:N.';
COMMENT ON COLUMN collections.generation IS 'The oldest generation that was collected: 0, 1 or 2.';
COMMENT ON COLUMN collections.start_seq IS 'The event of its start.';
COMMENT ON COLUMN collections.stop_seq IS 'The event of its stop; NULL when the recording ended within it.';
COMMENT ON COLUMN collections.started_ns IS 'Time of its start.';
COMMENT ON COLUMN collections.duration_ns IS 'The time of the garbage collector itself.';
COMMENT ON COLUMN collections.collected IS 'Objects that it collected, as it says itself.';
COMMENT ON COLUMN collections.uncollectable IS 'Objects that it found and could not collect.';
COMMENT ON COLUMN collections.freed_blocks IS 'Blocks that it freed.';
COMMENT ON COLUMN collections.freed_bytes IS 'Bytes of those.';

CREATE VIEW leaks AS
SELECT a.trace_id, a.alloc_seq, a.allocated_ns, t.duration_ns - a.allocated_ns AS age_ns, a.address, a.size, a.domain,
       h.name AS thread, y.name AS type, a.stack_id, s.file, s.line, s.function
FROM allocations a
JOIN traces t USING (trace_id)
LEFT JOIN threads h ON h.trace_id = a.trace_id AND h.thread_id = a.thread_id
LEFT JOIN types y ON y.trace_id = a.trace_id AND y.type_id = a.type_id
LEFT JOIN stack_sites s ON s.trace_id = a.trace_id AND s.stack_id = a.stack_id
WHERE a.alloc_seq <= t.end_seq AND (a.free_seq IS NULL OR a.free_seq > t.end_seq);
COMMENT ON VIEW leaks IS 'Blocks that were alive at the end: when the program was done and nothing was torn down yet.';
COMMENT ON COLUMN leaks.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN leaks.alloc_seq IS 'The allocation (allocations).';
COMMENT ON COLUMN leaks.allocated_ns IS 'Time of the allocation.';
COMMENT ON COLUMN leaks.age_ns IS 'From the allocation to the end of the recording.';
COMMENT ON COLUMN leaks.address IS 'Address of the block; synthetic unless traces.real_addresses.';
COMMENT ON COLUMN leaks.size IS 'Bytes of the block.';
COMMENT ON COLUMN leaks.domain IS 'The allocator the block came from.';
COMMENT ON COLUMN leaks.thread IS 'Name of the thread that allocated; NULL: not known.';
COMMENT ON COLUMN leaks.type IS 'Name of the type of the object in the block; NULL: not known.';
COMMENT ON COLUMN leaks.stack_id IS 'The call path that allocated (stacks); 0: none.';
COMMENT ON COLUMN leaks.file IS 'File of the allocation; NULL: not known.';
COMMENT ON COLUMN leaks.line IS 'Line of the allocation.';
COMMENT ON COLUMN leaks.function IS 'Qualified name of the allocating function.';
