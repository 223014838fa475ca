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
