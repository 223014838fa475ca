/* Texts in definitions. */
#ifndef TRACEKIT_TEXT_H
#define TRACEKIT_TEXT_H

#include "compat.h"
#include "ring.h"

/* Where definitions are put together: for two texts and a little more. With the GIL there is one user; nothing may be
   allocated between the first byte and tk_ring_define(), because the call path of an allocation may be defined first. */
enum { TK_TEXT_BUFFER = 2 * (TK_MAX_TEXT + 8) + 16 };
extern char tk_text_buffer[TK_TEXT_BUFFER];

/* A text as UTF-8, at most TK_MAX_TEXT bytes, surrogates passed through. Makes no object (PyUnicode_AsUTF8 would keep
   one in the text). Returns the bytes written; 0 for what is no text. */
size_t tk_put_utf8(char *to, PyObject *text);

/* A text as UTF-8 behind its length, as texts.py's pack_texts() has it. Returns the bytes written,
   at most 4 + TK_MAX_TEXT. */
size_t tk_put_text(char *to, PyObject *text);

/* The same for a C string. */
size_t tk_put_bytes(char *to, const char *text, size_t bytes);

#endif
