/* What CPython's object allocator held before the recording began. */
#ifndef TRACEKIT_OLDER_H
#define TRACEKIT_OLDER_H

/* Write its arenas and the blocks in use of its pools, or nothing where they cannot be told. With the GIL held, and
   with nothing allocated or freed between this and the first event. */
void tk_older_tell(void);

#endif
