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
