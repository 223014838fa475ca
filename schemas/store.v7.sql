-- The DuckDB store of tracekit, version 7; made from tracekit/store/*.sql.

-- The tables of a store: a projection of one or many logs. Units: bytes, nanoseconds since the recording began.

CREATE TYPE allocator_domain AS ENUM ('raw', 'mem', 'object', 'native', 'python', 'foreign');
COMMENT ON TYPE allocator_domain IS 'The allocator a block came from; python: one of raw, mem and object, not known which.';

CREATE TYPE free_cause AS ENUM ('refcount', 'gc', 'realloc', 'unknown');
COMMENT ON TYPE free_cause IS 'Why a block was given back.';

CREATE TYPE event_kind AS ENUM
    ('allocation', 'free', 'gc-start', 'gc-stop', 'mark', 'arena-allocation', 'arena-free');
COMMENT ON TYPE event_kind IS 'What one event says.';

CREATE TABLE store_identity (
    trace_uuid     VARCHAR NOT NULL,
    log_bytes      BIGINT  NOT NULL,
    log_mtime_ns   BIGINT  NOT NULL,
    schema_version INTEGER NOT NULL,
    tool_version   VARCHAR NOT NULL,
    resume         BLOB
);
COMMENT ON TABLE store_identity IS 'The log that this store was built from; a store of another identity is built anew.';
COMMENT ON COLUMN store_identity.trace_uuid IS 'Identity of the recording, from the header of the log.';
COMMENT ON COLUMN store_identity.log_bytes IS 'Length of the log when it was read, in bytes.';
COMMENT ON COLUMN store_identity.log_mtime_ns IS 'Modification time of the log when it was read, in nanoseconds since 1970.';
COMMENT ON COLUMN store_identity.schema_version IS 'Version of these tables, views and macros.';
COMMENT ON COLUMN store_identity.tool_version IS 'Version of the tracekit that built the store.';
COMMENT ON COLUMN store_identity.resume IS 'For tracekit itself: how to go on when the log has grown; NULL when the log was closed.';

CREATE TABLE traces (
    trace_id                INTEGER NOT NULL,
    trace_uuid              VARCHAR NOT NULL,
    path                    VARCHAR NOT NULL,
    engine                  VARCHAR NOT NULL,
    engine_reason           VARCHAR NOT NULL,
    python                  VARCHAR NOT NULL,
    python_build            VARCHAR NOT NULL,
    executable              VARCHAR NOT NULL,
    platform                VARCHAR NOT NULL,
    pid                     BIGINT NOT NULL,
    argv                    VARCHAR[] NOT NULL,
    cwd                     VARCHAR NOT NULL,
    tool_version            VARCHAR NOT NULL,
    format_version          INTEGER NOT NULL,
    started_at              TIMESTAMP,
    duration_ns             BIGINT NOT NULL,
    events                  BIGINT NOT NULL,
    allocations             BIGINT NOT NULL,
    frees                   BIGINT NOT NULL,
    unmatched_frees         BIGINT NOT NULL,
    gc_collections          BIGINT NOT NULL,
    allocated_bytes         HUGEINT NOT NULL,
    first_seq               BIGINT,
    last_seq                BIGINT,
    peak_seq                BIGINT,
    peak_bytes              BIGINT NOT NULL,
    peak_blocks             BIGINT NOT NULL,
    end_seq                 BIGINT,
    end_bytes               BIGINT NOT NULL,
    end_blocks              BIGINT NOT NULL,
    complete                BOOLEAN NOT NULL,
    closed                  BOOLEAN NOT NULL,
    exit_status             INTEGER,
    log_bytes               BIGINT NOT NULL,
    torn_bytes              BIGINT NOT NULL,
    max_frames              BIGINT NOT NULL,
    sync_interval_ns        BIGINT NOT NULL,
    allocator               VARCHAR NOT NULL,
    page_size               BIGINT NOT NULL,
    arena_size              BIGINT NOT NULL,
    pool_size               BIGINT NOT NULL,
    alignment               BIGINT NOT NULL,
    small_request_threshold BIGINT NOT NULL,
    gc_enabled              BOOLEAN NOT NULL,
    threshold0              BIGINT NOT NULL,
    threshold1              BIGINT NOT NULL,
    threshold2              BIGINT NOT NULL,
    count0                  BIGINT,
    count1                  BIGINT,
    count2                  BIGINT,
    exact_order             BOOLEAN NOT NULL,
    every_event             BOOLEAN NOT NULL,
    real_addresses          BOOLEAN NOT NULL,
    real_times              BOOLEAN NOT NULL,
    domains                 BOOLEAN NOT NULL,
    types                   BOOLEAN NOT NULL,
    causes                  BOOLEAN NOT NULL,
    threads                 BOOLEAN NOT NULL,
    reallocs                BOOLEAN NOT NULL,
    gc_tracked              BOOLEAN NOT NULL,
    arenas                  BOOLEAN NOT NULL
);
COMMENT ON TABLE traces IS 'One row a recording: who was recorded, with what, and what it adds up to.';
COMMENT ON COLUMN traces.trace_id IS 'Number of the recording in this store, 1 for the first; part of every key.';
COMMENT ON COLUMN traces.trace_uuid IS 'Identity of the recording, from the header of the log.';
COMMENT ON COLUMN traces.path IS 'The log as it was named when the store was built.';
COMMENT ON COLUMN traces.engine IS 'The engine that recorded: native or portable.';
COMMENT ON COLUMN traces.engine_reason IS 'Why that engine was chosen.';
COMMENT ON COLUMN traces.python IS 'Version of the recorded interpreter, as in 3.11.7.';
COMMENT ON COLUMN traces.python_build IS 'Implementation and build of the recorded interpreter.';
COMMENT ON COLUMN traces.executable IS 'Path of the recorded interpreter.';
COMMENT ON COLUMN traces.platform IS 'Operating system and machine of the recording.';
COMMENT ON COLUMN traces.pid IS 'Process number of the recorded program.';
COMMENT ON COLUMN traces.argv IS 'Command line of the recorded program.';
COMMENT ON COLUMN traces.cwd IS 'Working folder of the recorded program when it started.';
COMMENT ON COLUMN traces.tool_version IS 'Version of the tracekit that recorded.';
COMMENT ON COLUMN traces.format_version IS 'Version of the log format.';
COMMENT ON COLUMN traces.started_at IS 'Wall clock at time 0 of the recording, UTC.';
COMMENT ON COLUMN traces.duration_ns IS 'Time of the last event.';
COMMENT ON COLUMN traces.events IS 'Number of events of all kinds.';
COMMENT ON COLUMN traces.allocations IS 'Number of allocations.';
COMMENT ON COLUMN traces.frees IS 'Number of frees, those of unknown blocks included.';
COMMENT ON COLUMN traces.unmatched_frees IS 'Number of frees that ended no allocation of the recording.';
COMMENT ON COLUMN traces.gc_collections IS 'Number of collections that the garbage collector began.';
COMMENT ON COLUMN traces.allocated_bytes IS 'Sum of the sizes of all allocations.';
COMMENT ON COLUMN traces.first_seq IS 'The first event; NULL when there is none.';
COMMENT ON COLUMN traces.last_seq IS 'The last event; NULL when there is none.';
COMMENT ON COLUMN traces.peak_seq IS 'The first event after which live bytes were highest; NULL without events.';
COMMENT ON COLUMN traces.peak_bytes IS 'Live bytes after peak_seq.';
COMMENT ON COLUMN traces.peak_blocks IS 'Live blocks after peak_seq.';
COMMENT ON COLUMN traces.end_seq IS 'The mark end, or the last event when the program did not reach it; NULL without events.';
COMMENT ON COLUMN traces.end_bytes IS 'Live bytes after the last event.';
COMMENT ON COLUMN traces.end_blocks IS 'Live blocks after the last event.';
COMMENT ON COLUMN traces.complete IS 'The program reached its own end (the mark end is there).';
COMMENT ON COLUMN traces.closed IS 'The log has its footer: the recorder ended in order.';
COMMENT ON COLUMN traces.exit_status IS 'Exit status of the program, negative for a signal; NULL when not known.';
COMMENT ON COLUMN traces.log_bytes IS 'Length of the log.';
COMMENT ON COLUMN traces.torn_bytes IS 'Bytes of an unfinished record at the end of the log, not read.';
COMMENT ON COLUMN traces.max_frames IS 'Most frames that were kept of a call path.';
COMMENT ON COLUMN traces.sync_interval_ns IS 'Running time between sync points of an engine that works by them; 0 for others.';
COMMENT ON COLUMN traces.allocator IS 'Allocator of the object domain: pymalloc or malloc.';
COMMENT ON COLUMN traces.page_size IS 'Page of the operating system.';
COMMENT ON COLUMN traces.arena_size IS 'Arena of the object allocator.';
COMMENT ON COLUMN traces.pool_size IS 'Pool of the object allocator.';
COMMENT ON COLUMN traces.alignment IS 'Alignment of the object allocator, the step of its size classes.';
COMMENT ON COLUMN traces.small_request_threshold IS 'Largest request that the object allocator serves from its pools.';
COMMENT ON COLUMN traces.gc_enabled IS 'The garbage collector was enabled when the recording began.';
COMMENT ON COLUMN traces.threshold0 IS 'Threshold of generation 0 when the recording began.';
COMMENT ON COLUMN traces.threshold1 IS 'Threshold of generation 1 when the recording began.';
COMMENT ON COLUMN traces.threshold2 IS 'Threshold of generation 2 when the recording began.';
COMMENT ON COLUMN traces.count0 IS 'gc.get_count()[0] when it began; NULL: not recorded.';
COMMENT ON COLUMN traces.count1 IS 'gc.get_count()[1] when it began; NULL: not recorded.';
COMMENT ON COLUMN traces.count2 IS 'gc.get_count()[2] when it began; NULL: not recorded.';
COMMENT ON COLUMN traces.exact_order IS 'The engine recorded events in the order in which they happened.';
COMMENT ON COLUMN traces.every_event IS 'The engine recorded every event, however short a block lived.';
COMMENT ON COLUMN traces.real_addresses IS 'Addresses are those of the allocator; otherwise they only tell blocks apart.';
COMMENT ON COLUMN traces.real_times IS 'The time of an event is its own; otherwise that of its sync point.';
COMMENT ON COLUMN traces.domains IS 'The engine told raw, mem and object apart.';
COMMENT ON COLUMN traces.types IS 'The engine recorded the types of blocks.';
COMMENT ON COLUMN traces.causes IS 'The engine knew the cause of every free.';
COMMENT ON COLUMN traces.threads IS 'The engine knew the thread of every event.';
COMMENT ON COLUMN traces.reallocs IS 'The engine recorded a realloc as a linked free and allocation.';
COMMENT ON COLUMN traces.gc_tracked IS 'The engine knew which blocks the garbage collector tracks.';
COMMENT ON COLUMN traces.arenas IS 'The engine recorded the arenas of the object allocator.';

-- The compression of each column is said, because finding out which is best takes a fifth of the time of an ingest.
CREATE TABLE allocations (
    trace_id        INTEGER NOT NULL USING COMPRESSION rle,
    alloc_seq       BIGINT NOT NULL USING COMPRESSION bitpacking,
    free_seq        BIGINT USING COMPRESSION bitpacking,
    allocated_ns    BIGINT NOT NULL USING COMPRESSION rle,
    freed_ns        BIGINT USING COMPRESSION rle,
    address         BIGINT NOT NULL USING COMPRESSION bitpacking,
    size            BIGINT NOT NULL USING COMPRESSION bitpacking,
    domain          allocator_domain NOT NULL USING COMPRESSION uncompressed,
    thread_id       INTEGER NOT NULL USING COMPRESSION rle,
    stack_id        INTEGER NOT NULL,
    type_id         INTEGER NOT NULL USING COMPRESSION bitpacking,
    freed_by        free_cause USING COMPRESSION rle,
    freed_thread_id INTEGER USING COMPRESSION rle
);
COMMENT ON TABLE allocations IS 'One row a block, with its lifetime: alive at seq t when alloc_seq <= t and (free_seq > t or free_seq is null).';
COMMENT ON COLUMN allocations.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN allocations.alloc_seq IS 'The event that began the block; its identity.';
COMMENT ON COLUMN allocations.free_seq IS 'The event that ended the block; NULL: never freed while recorded.';
COMMENT ON COLUMN allocations.allocated_ns IS 'Time of alloc_seq.';
COMMENT ON COLUMN allocations.freed_ns IS 'Time of free_seq.';
COMMENT ON COLUMN allocations.address IS 'Address of the block; synthetic unless traces.real_addresses.';
COMMENT ON COLUMN allocations.size IS 'Bytes that were asked for.';
COMMENT ON COLUMN allocations.domain IS 'The allocator the block came from.';
COMMENT ON COLUMN allocations.thread_id IS 'The thread that allocated (threads); 0: not known.';
COMMENT ON COLUMN allocations.stack_id IS 'The call path that allocated (stacks); 0: none.';
COMMENT ON COLUMN allocations.type_id IS 'Type of the object that died in the block (types); 0: not known.';
COMMENT ON COLUMN allocations.freed_by IS 'Why the block was given back.';
COMMENT ON COLUMN allocations.freed_thread_id IS 'The thread that freed (threads); 0: not known.';

CREATE TABLE unmatched_frees (
    trace_id  INTEGER NOT NULL,
    seq       BIGINT NOT NULL,
    time_ns   BIGINT NOT NULL,
    thread_id INTEGER NOT NULL,
    address   BIGINT NOT NULL,
    alloc_seq BIGINT,
    cause     free_cause NOT NULL,
    type_id   INTEGER NOT NULL
);
COMMENT ON TABLE unmatched_frees IS 'Frees that ended no allocation of the recording: the block was older, or its allocation was lost.';
COMMENT ON COLUMN unmatched_frees.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN unmatched_frees.seq IS 'The event.';
COMMENT ON COLUMN unmatched_frees.time_ns IS 'Time of the event.';
COMMENT ON COLUMN unmatched_frees.thread_id IS 'The thread that freed (threads); 0: not known.';
COMMENT ON COLUMN unmatched_frees.address IS 'Address of the block; 0 when alloc_seq is there.';
COMMENT ON COLUMN unmatched_frees.alloc_seq IS 'The allocation that it claims to end, when that is lost or was freed before; otherwise NULL.';
COMMENT ON COLUMN unmatched_frees.cause IS 'Why the block was given back.';
COMMENT ON COLUMN unmatched_frees.type_id IS 'Type of the object that died in the block (types); 0: not known.';

CREATE TABLE reallocs (
    trace_id   INTEGER NOT NULL,
    alloc_seq  BIGINT NOT NULL,
    realloc_of BIGINT NOT NULL
);
COMMENT ON TABLE reallocs IS 'Allocations by which a realloc replaced an older one.';
COMMENT ON COLUMN reallocs.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN reallocs.alloc_seq IS 'The new allocation.';
COMMENT ON COLUMN reallocs.realloc_of IS 'alloc_seq of the allocation it replaced.';

CREATE TABLE stacks (
    trace_id      INTEGER NOT NULL,
    stack_id      INTEGER NOT NULL,
    parent_id     INTEGER NOT NULL,
    code_id       INTEGER NOT NULL,
    line          INTEGER NOT NULL,
    depth         INTEGER NOT NULL,
    position      INTEGER NOT NULL,
    last_position INTEGER NOT NULL,
    outermost     BOOLEAN NOT NULL
);
COMMENT ON TABLE stacks IS 'The call tree: a node is a line of a code object, called from its parent. frames() lists a path.';
COMMENT ON COLUMN stacks.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN stacks.stack_id IS 'The node; it stands for the whole path from the root to it.';
COMMENT ON COLUMN stacks.parent_id IS 'The node of the caller; 0: a root.';
COMMENT ON COLUMN stacks.code_id IS 'The code object (codes).';
COMMENT ON COLUMN stacks.line IS 'Line that was executing.';
COMMENT ON COLUMN stacks.depth IS 'Number of frames of the path; 1 for a root.';
COMMENT ON COLUMN stacks.position IS 'Number of the node in preorder: the node and all below it have the numbers from here to last_position.';
COMMENT ON COLUMN stacks.last_position IS 'The largest position in the subtree of the node.';
COMMENT ON COLUMN stacks.outermost IS 'No caller of the node runs the same code: a sum over these counts a recursion once.';

CREATE TABLE codes (
    trace_id    INTEGER NOT NULL,
    code_id     INTEGER NOT NULL,
    filename    VARCHAR NOT NULL,
    qualname    VARCHAR NOT NULL,
    first_line  INTEGER NOT NULL,
    frame_bytes BIGINT NOT NULL
);
COMMENT ON TABLE codes IS 'Code objects of the program.';
COMMENT ON COLUMN codes.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN codes.code_id IS 'Number of the code object.';
COMMENT ON COLUMN codes.filename IS 'Its file (co_filename).';
COMMENT ON COLUMN codes.qualname IS 'Its qualified name (co_qualname).';
COMMENT ON COLUMN codes.first_line IS 'Its first line (co_firstlineno).';
COMMENT ON COLUMN codes.frame_bytes IS 'Bytes that one frame of it occupies; 0: not known.';

CREATE TABLE types (
    trace_id   INTEGER NOT NULL,
    type_id    INTEGER NOT NULL,
    name       VARCHAR NOT NULL,
    basic_size BIGINT NOT NULL,
    gc_tracked BOOLEAN NOT NULL
);
COMMENT ON TABLE types IS 'Types of objects.';
COMMENT ON COLUMN types.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN types.type_id IS 'Number of the type.';
COMMENT ON COLUMN types.name IS 'Module and qualified name.';
COMMENT ON COLUMN types.basic_size IS 'tp_basicsize, in bytes.';
COMMENT ON COLUMN types.gc_tracked IS 'Instances carry a header of the garbage collector.';

CREATE TABLE threads (
    trace_id  INTEGER NOT NULL,
    thread_id INTEGER NOT NULL,
    name      VARCHAR NOT NULL
);
COMMENT ON TABLE threads IS 'Threads of the program.';
COMMENT ON COLUMN threads.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN threads.thread_id IS 'Number of the thread; 0 is kept for "not known" and has no row.';
COMMENT ON COLUMN threads.name IS 'Its name.';

CREATE TABLE gc_collections (
    trace_id           INTEGER NOT NULL,
    gc_id              BIGINT,
    generation         BIGINT,
    start_seq          BIGINT,
    stop_seq           BIGINT,
    started_ns         BIGINT,
    stopped_ns         BIGINT,
    duration_ns        BIGINT,
    collected          BIGINT,
    uncollectable      BIGINT,
    count0             BIGINT,
    count1             BIGINT,
    count2             BIGINT,
    threshold0         BIGINT,
    threshold1         BIGINT,
    threshold2         BIGINT,
    thread_id          INTEGER NOT NULL,
    long_lived_total   BIGINT,
    long_lived_pending BIGINT,
    free_lists_before  UINTEGER[],
    free_lists_after   UINTEGER[]
);
COMMENT ON TABLE gc_collections IS 'Collections of the garbage collector. What a damaged log lost of one is NULL.';
COMMENT ON COLUMN gc_collections.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN gc_collections.gc_id IS 'Number of the collection, from 0; the N of the moment gc:N.';
COMMENT ON COLUMN gc_collections.generation IS 'The oldest generation that was collected: 0, 1 or 2.';
COMMENT ON COLUMN gc_collections.start_seq IS 'The event of its start.';
COMMENT ON COLUMN gc_collections.stop_seq IS 'The event of its stop; NULL when the recording ended within it.';
COMMENT ON COLUMN gc_collections.started_ns IS 'Time of its start.';
COMMENT ON COLUMN gc_collections.stopped_ns IS 'Time of its stop.';
COMMENT ON COLUMN gc_collections.duration_ns IS 'The time of the garbage collector itself, without that of the recorder.';
COMMENT ON COLUMN gc_collections.collected IS 'Objects that it collected.';
COMMENT ON COLUMN gc_collections.uncollectable IS 'Objects that it found and could not collect.';
COMMENT ON COLUMN gc_collections.count0 IS 'gc.get_count()[0] at its start.';
COMMENT ON COLUMN gc_collections.count1 IS 'gc.get_count()[1] at its start.';
COMMENT ON COLUMN gc_collections.count2 IS 'gc.get_count()[2] at its start.';
COMMENT ON COLUMN gc_collections.threshold0 IS 'gc.get_threshold()[0] at its start.';
COMMENT ON COLUMN gc_collections.threshold1 IS 'gc.get_threshold()[1] at its start.';
COMMENT ON COLUMN gc_collections.threshold2 IS 'gc.get_threshold()[2] at its start.';
COMMENT ON COLUMN gc_collections.thread_id IS 'The thread that collected (threads); 0: not known.';
COMMENT ON COLUMN gc_collections.long_lived_total IS 'Objects that survived the last full collection before; NULL: not recorded.';
COMMENT ON COLUMN gc_collections.long_lived_pending IS 'Objects that survived one of generation 1 since then; below a quarter of the total there is no full collection. NULL: not recorded.';
COMMENT ON COLUMN gc_collections.free_lists_before IS 'Dead objects that wait in CPython''s free lists at its start: dicts, lists, tuples of 1, of 2... of 20 items, floats, tables of dicts'' keys (24 numbers). NULL: not recorded.';
COMMENT ON COLUMN gc_collections.free_lists_after IS 'The same at its stop; a full collection empties them. NULL: not recorded.';

CREATE TABLE gc_settings (
    trace_id   INTEGER NOT NULL,
    seq        BIGINT NOT NULL,
    time_ns    BIGINT NOT NULL,
    enabled    BOOLEAN NOT NULL,
    threshold0 BIGINT NOT NULL,
    threshold1 BIGINT NOT NULL,
    threshold2 BIGINT NOT NULL
);
COMMENT ON TABLE gc_settings IS 'How the garbage collector was set: at the start, and after each change. Empty where the engine did not look.';
COMMENT ON COLUMN gc_settings.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN gc_settings.seq IS 'The first event for which it was so.';
COMMENT ON COLUMN gc_settings.time_ns IS 'Time at which it was noticed, just before that event.';
COMMENT ON COLUMN gc_settings.enabled IS 'gc.isenabled().';
COMMENT ON COLUMN gc_settings.threshold0 IS 'gc.get_threshold()[0].';
COMMENT ON COLUMN gc_settings.threshold1 IS 'gc.get_threshold()[1].';
COMMENT ON COLUMN gc_settings.threshold2 IS 'gc.get_threshold()[2].';

CREATE TABLE arenas (
    trace_id        INTEGER NOT NULL,
    address         BIGINT NOT NULL,
    size            BIGINT NOT NULL,
    alloc_seq       BIGINT,
    free_seq        BIGINT,
    allocated_ns    BIGINT,
    freed_ns        BIGINT,
    thread_id       INTEGER,
    freed_thread_id INTEGER
);
COMMENT ON TABLE arenas IS 'Arenas of the object allocator, with their lifetime; empty unless traces.arenas.';
COMMENT ON COLUMN arenas.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN arenas.address IS 'Address of the arena.';
COMMENT ON COLUMN arenas.size IS 'Its size.';
COMMENT ON COLUMN arenas.alloc_seq IS 'The event that obtained it; NULL: it is older than the recording.';
COMMENT ON COLUMN arenas.free_seq IS 'The event that returned it; NULL: never while recorded.';
COMMENT ON COLUMN arenas.allocated_ns IS 'Time of alloc_seq.';
COMMENT ON COLUMN arenas.freed_ns IS 'Time of free_seq.';
COMMENT ON COLUMN arenas.thread_id IS 'The thread that obtained it (threads); 0: not known.';
COMMENT ON COLUMN arenas.freed_thread_id IS 'The thread that returned it (threads); 0: not known.';

CREATE TABLE marks (
    trace_id  INTEGER NOT NULL,
    name      VARCHAR,
    seq       BIGINT NOT NULL,
    time_ns   BIGINT NOT NULL,
    thread_id INTEGER NOT NULL,
    own       BOOLEAN NOT NULL
);
COMMENT ON TABLE marks IS 'Instants with a name.';
COMMENT ON COLUMN marks.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN marks.name IS 'The name; NULL when a damaged log lost it.';
COMMENT ON COLUMN marks.seq IS 'The event.';
COMMENT ON COLUMN marks.time_ns IS 'Time of the event.';
COMMENT ON COLUMN marks.thread_id IS 'The thread that set it (threads); 0: not known.';
COMMENT ON COLUMN marks.own IS 'One of the marks of the recorder, start and end.';

CREATE TABLE mark_stacks (
    trace_id  INTEGER NOT NULL,
    seq       BIGINT NOT NULL,
    thread_id INTEGER NOT NULL,
    stack_id  INTEGER NOT NULL
);
COMMENT ON TABLE mark_stacks IS 'Where every thread of the program was at a mark; no rows for a mark where the engine did not look.';
COMMENT ON COLUMN mark_stacks.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN mark_stacks.seq IS 'The event of the mark (marks).';
COMMENT ON COLUMN mark_stacks.thread_id IS 'The thread (threads); 0: not known.';
COMMENT ON COLUMN mark_stacks.stack_id IS 'Its call path (stacks); 0: it ran no Python code.';

CREATE TABLE source_lines (
    trace_id INTEGER NOT NULL,
    code_id  INTEGER NOT NULL,
    line     INTEGER NOT NULL,
    text     VARCHAR NOT NULL
);
COMMENT ON TABLE source_lines IS 'Source text of lines that call paths refer to, read while the program was recorded; lines that could not be read are missing.';
COMMENT ON COLUMN source_lines.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN source_lines.code_id IS 'The code object (codes).';
COMMENT ON COLUMN source_lines.line IS 'The line, as in stacks.';
COMMENT ON COLUMN source_lines.text IS 'Its text, without the white space around it.';

CREATE TABLE older_blocks (
    trace_id   INTEGER NOT NULL,
    address    BIGINT NOT NULL,
    block_size BIGINT NOT NULL,
    free_seq   BIGINT,
    freed_ns   BIGINT
);
COMMENT ON TABLE older_blocks IS 'Blocks in the pools of the object allocator that are older than the recording; empty where the engine did not look.';
COMMENT ON COLUMN older_blocks.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN older_blocks.address IS 'Address of the block.';
COMMENT ON COLUMN older_blocks.block_size IS 'Bytes of its size class; how many of them were asked for is not known.';
COMMENT ON COLUMN older_blocks.free_seq IS 'The event that ended the block; NULL: never freed while recorded.';
COMMENT ON COLUMN older_blocks.freed_ns IS 'Time of free_seq.';

CREATE TABLE timeline (
    trace_id    INTEGER NOT NULL,
    seq         BIGINT NOT NULL,
    time_ns     BIGINT NOT NULL,
    live_bytes  BIGINT NOT NULL,
    live_blocks BIGINT NOT NULL
);
COMMENT ON TABLE timeline IS 'What was alive over time: the last event of each distinct time, and the peak.';
COMMENT ON COLUMN timeline.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN timeline.seq IS 'The event after which it was so.';
COMMENT ON COLUMN timeline.time_ns IS 'Time of the event.';
COMMENT ON COLUMN timeline.live_bytes IS 'Bytes alive after it.';
COMMENT ON COLUMN timeline.live_blocks IS 'Blocks alive after it.';

CREATE TABLE memory_samples (
    trace_id          INTEGER NOT NULL,
    seq               BIGINT NOT NULL,
    time_ns           BIGINT NOT NULL,
    rss_bytes         BIGINT NOT NULL,
    traced_peak_bytes BIGINT
);
COMMENT ON TABLE memory_samples IS 'Memory of the whole process over time, as the operating system counts it.';
COMMENT ON COLUMN memory_samples.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN memory_samples.seq IS 'The last event before the sample.';
COMMENT ON COLUMN memory_samples.time_ns IS 'Time of the sample.';
COMMENT ON COLUMN memory_samples.rss_bytes IS 'Resident memory, without the buffer of the recorder.';
COMMENT ON COLUMN memory_samples.traced_peak_bytes IS 'Highest traced memory so far, by tracemalloc itself; NULL where it is not running.';

CREATE TABLE notices (
    trace_id INTEGER NOT NULL,
    code     VARCHAR NOT NULL,
    seq      BIGINT NOT NULL,
    time_ns  BIGINT NOT NULL,
    text     VARCHAR NOT NULL
);
COMMENT ON TABLE notices IS 'What a reader of the recording must know.';
COMMENT ON COLUMN notices.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN notices.code IS 'Stable code of the notice (docs/errors.md).';
COMMENT ON COLUMN notices.seq IS 'The last event before the notice.';
COMMENT ON COLUMN notices.time_ns IS 'Time of the notice.';
COMMENT ON COLUMN notices.text IS 'The notice.';

-- What simulations came to. These tables are empty in a store: their rows are in a file beside it, as simulated.py says.

CREATE TYPE simulation_bound AS ENUM ('only', 'low', 'likely', 'high');
COMMENT ON TYPE simulation_bound IS 'Where a recording leaves room between two answers, low and high are both, and likely is between them; only: there is one.';

CREATE TABLE sim_timeline (
    trace_id        INTEGER NOT NULL,
    scenario        VARCHAR NOT NULL,
    bound           simulation_bound NOT NULL,
    seq             BIGINT NOT NULL,
    time_ns         BIGINT NOT NULL,
    live_bytes      BIGINT NOT NULL,
    peak_live_bytes BIGINT NOT NULL,
    arenas          BIGINT NOT NULL,
    peak_arenas     BIGINT NOT NULL,
    footprint_bytes BIGINT NOT NULL
);
COMMENT ON TABLE sim_timeline IS 'Memory over time in each scenario that was simulated, in spans of events.';
COMMENT ON COLUMN sim_timeline.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN sim_timeline.scenario IS 'Name of the scenario, as tracekit simulate shows it.';
COMMENT ON COLUMN sim_timeline.bound IS 'Which of its answers.';
COMMENT ON COLUMN sim_timeline.seq IS 'The last event of the span.';
COMMENT ON COLUMN sim_timeline.time_ns IS 'Time of the event.';
COMMENT ON COLUMN sim_timeline.live_bytes IS 'Bytes of the recording alive after it.';
COMMENT ON COLUMN sim_timeline.peak_live_bytes IS 'Most bytes alive within the span.';
COMMENT ON COLUMN sim_timeline.arenas IS 'Arenas after it.';
COMMENT ON COLUMN sim_timeline.peak_arenas IS 'Most arenas within the span.';
COMMENT ON COLUMN sim_timeline.footprint_bytes IS 'Bytes held from the kernel after it: arenas, the heap and mappings of malloc.';

CREATE TABLE sim_collections (
    trace_id     INTEGER NOT NULL,
    scenario     VARCHAR NOT NULL,
    bound        simulation_bound NOT NULL,
    seq          BIGINT NOT NULL,
    generation   BIGINT NOT NULL,
    examined     BIGINT NOT NULL,
    freed_blocks BIGINT NOT NULL,
    freed_bytes  BIGINT NOT NULL,
    asked        BOOLEAN NOT NULL
);
COMMENT ON TABLE sim_collections IS 'Collections of the garbage collector in each scenario that was simulated.';
COMMENT ON COLUMN sim_collections.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN sim_collections.scenario IS 'Name of the scenario, as tracekit simulate shows it.';
COMMENT ON COLUMN sim_collections.bound IS 'Which of its answers.';
COMMENT ON COLUMN sim_collections.seq IS 'The event at which it ran: before it, or within its allocation up to Python 3.11.';
COMMENT ON COLUMN sim_collections.generation IS 'The oldest generation that was collected: 0, 1 or 2.';
COMMENT ON COLUMN sim_collections.examined IS 'Live blocks of types with a header of the collector that it looked at.';
COMMENT ON COLUMN sim_collections.freed_blocks IS 'Blocks that it freed; 0 where blocks go when they went in the recording.';
COMMENT ON COLUMN sim_collections.freed_bytes IS 'Bytes of those.';
COMMENT ON COLUMN sim_collections.asked IS 'The program asked for it (gc.collect).';

CREATE TABLE sim_arenas (
    trace_id  INTEGER NOT NULL,
    scenario  VARCHAR NOT NULL,
    bound     simulation_bound NOT NULL,
    number    BIGINT NOT NULL,
    alloc_seq BIGINT NOT NULL,
    free_seq  BIGINT
);
COMMENT ON TABLE sim_arenas IS 'Arenas of the object allocator in each scenario that was simulated, with their lifetime.';
COMMENT ON COLUMN sim_arenas.trace_id IS 'The recording (traces).';
COMMENT ON COLUMN sim_arenas.scenario IS 'Name of the scenario, as tracekit simulate shows it.';
COMMENT ON COLUMN sim_arenas.bound IS 'Which of its answers.';
COMMENT ON COLUMN sim_arenas.number IS 'Number of the arena, from 0; those older than the recording come first and have no row.';
COMMENT ON COLUMN sim_arenas.alloc_seq IS 'The event that obtained it.';
COMMENT ON COLUMN sim_arenas.free_seq IS 'The event that returned it; NULL: never.';

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
