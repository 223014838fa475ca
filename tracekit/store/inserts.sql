-- How the ingest writes rows: one statement a table, reading the columns registered as incoming;
-- $trace is the trace_id. -1 is NULL.
-- (CASE with all its cases, the usual one first, is four times as fast as a lookup in enum_range().)

-- table: allocations
INSERT INTO allocations
SELECT $trace, alloc_seq, free_seq, time_ns, freed_ns, address, size,
       CASE domain WHEN 2 THEN 'object'::allocator_domain WHEN 1 THEN 'mem'::allocator_domain
           WHEN 0 THEN 'raw'::allocator_domain WHEN 3 THEN 'native'::allocator_domain
           WHEN 4 THEN 'python'::allocator_domain WHEN 5 THEN 'foreign'::allocator_domain END, thread_id, stack_id, type_id,
       CASE cause WHEN 0 THEN 'refcount'::free_cause WHEN 1 THEN 'gc'::free_cause
           WHEN 2 THEN 'realloc'::free_cause WHEN 3 THEN 'unknown'::free_cause END, freed_thread_id
FROM incoming;

-- table: live
INSERT INTO allocations
SELECT $trace, alloc_seq, NULL, time_ns, NULL, address, size,
       CASE domain WHEN 2 THEN 'object'::allocator_domain WHEN 1 THEN 'mem'::allocator_domain
           WHEN 0 THEN 'raw'::allocator_domain WHEN 3 THEN 'native'::allocator_domain
           WHEN 4 THEN 'python'::allocator_domain WHEN 5 THEN 'foreign'::allocator_domain END, thread_id, stack_id, type_id, NULL, NULL
FROM incoming;

-- table: unmatched_frees
INSERT INTO unmatched_frees
SELECT $trace, seq, time_ns, thread_id, address, nullif(alloc_seq, -1),
       CASE cause WHEN 0 THEN 'refcount'::free_cause WHEN 1 THEN 'gc'::free_cause
           WHEN 2 THEN 'realloc'::free_cause WHEN 3 THEN 'unknown'::free_cause END, type_id
FROM incoming;

-- table: reallocs
INSERT INTO reallocs SELECT $trace, alloc_seq, realloc_of FROM incoming;

-- table: timeline
INSERT INTO timeline SELECT $trace, seq, time_ns, live_bytes, live_blocks FROM incoming;

-- table: stacks
INSERT INTO stacks
SELECT $trace, stack_id, parent_id, code_id, line, depth, position, last_position, outermost FROM incoming;

-- table: codes
INSERT INTO codes SELECT $trace, code_id, filename, qualname, first_line, frame_bytes FROM incoming;

-- table: types
INSERT INTO types SELECT $trace, type_id, name, basic_size, gc_tracked FROM incoming;

-- table: threads
INSERT INTO threads SELECT $trace, thread_id, name FROM incoming;

-- table: gc_collections
INSERT INTO gc_collections
SELECT $trace, nullif(gc_id, -1), nullif(generation, -1), nullif(start_seq, -1), nullif(stop_seq, -1),
       nullif(started_ns, -1), nullif(stopped_ns, -1), nullif(duration_ns, -1), nullif(collected, -1),
       nullif(uncollectable, -1), nullif(count0, -1), nullif(count1, -1), nullif(count2, -1),
       nullif(threshold0, -1), nullif(threshold1, -1), nullif(threshold2, -1), thread_id,
       nullif(long_lived_total, -1), nullif(long_lived_pending, -1),
       nullif(free_lists_before, '')::UINTEGER[], nullif(free_lists_after, '')::UINTEGER[]
FROM incoming;

-- table: gc_settings
INSERT INTO gc_settings SELECT $trace, seq, time_ns, enabled, threshold0, threshold1, threshold2 FROM incoming;

-- table: arenas
INSERT INTO arenas
SELECT $trace, address, size, nullif(alloc_seq, -1), nullif(free_seq, -1), nullif(allocated_ns, -1),
       nullif(freed_ns, -1), nullif(thread_id, -1), nullif(freed_thread_id, -1)
FROM incoming;

-- table: marks
INSERT INTO marks SELECT $trace, name, seq, time_ns, thread_id, own FROM incoming;

-- table: memory_samples
INSERT INTO memory_samples SELECT $trace, seq, time_ns, rss_bytes, nullif(traced_peak_bytes, 0) FROM incoming;

-- table: notices
INSERT INTO notices SELECT $trace, code, seq, time_ns, text FROM incoming;

-- table: source_lines
INSERT INTO source_lines SELECT $trace, code_id, line, text FROM incoming;

-- table: mark_stacks
INSERT INTO mark_stacks SELECT $trace, seq, thread_id, stack_id FROM incoming;

-- table: older_blocks
INSERT INTO older_blocks
SELECT $trace, i.address, i.block_size, f.free_seq, f.freed_ns
FROM incoming i LEFT JOIN (
    SELECT u.address, min(u.seq) AS free_seq, arg_min(u.time_ns, u.seq) AS freed_ns
    FROM unmatched_frees u WHERE u.trace_id = $trace AND u.alloc_seq IS NULL GROUP BY u.address
) f ON f.address = i.address;

-- table: sim_timeline
INSERT INTO sim_timeline
SELECT $trace, $scenario, $bound, seq, time_ns, live_bytes, peak_live_bytes, arenas, peak_arenas, footprint_bytes
FROM incoming;

-- table: sim_collections
INSERT INTO sim_collections
SELECT $trace, $scenario, $bound, seq, generation, examined, freed_blocks, freed_bytes, asked FROM incoming;

-- table: sim_arenas
INSERT INTO sim_arenas SELECT $trace, $scenario, $bound, number, alloc_seq, nullif(free_seq, -1) FROM incoming;
