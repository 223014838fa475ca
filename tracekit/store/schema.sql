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
