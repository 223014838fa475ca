/* UTF-8 without making objects. */
#include "text.h"

#include <string.h>

char tk_text_buffer[TK_TEXT_BUFFER];

size_t tk_put_bytes(char *to, const char *text, size_t bytes) {
    uint32_t length = bytes < TK_MAX_TEXT ? (uint32_t)bytes : TK_MAX_TEXT;
    memcpy(to, &length, 4);
    memcpy(to + 4, text, length);
    return 4 + (size_t)length;
}

size_t tk_put_utf8(char *to, PyObject *text) {
    size_t at = 0;
    Py_ssize_t length = PyUnicode_Check(text) ? PyUnicode_GET_LENGTH(text) : 0;
    for (Py_ssize_t i = 0; i < length && at + 4 <= TK_MAX_TEXT; i++) {
        Py_UCS4 c = PyUnicode_READ_CHAR(text, i);
        if (c < 0x80) {
            to[at++] = (char)c;
        } else if (c < 0x800) {
            to[at++] = (char)(0xC0 | c >> 6);
            to[at++] = (char)(0x80 | (c & 63));
        } else if (c < 0x10000) {
            to[at++] = (char)(0xE0 | c >> 12);
            to[at++] = (char)(0x80 | (c >> 6 & 63));
            to[at++] = (char)(0x80 | (c & 63));
        } else {
            to[at++] = (char)(0xF0 | c >> 18);
            to[at++] = (char)(0x80 | (c >> 12 & 63));
            to[at++] = (char)(0x80 | (c >> 6 & 63));
            to[at++] = (char)(0x80 | (c & 63));
        }
    }
    return at;
}

size_t tk_put_text(char *to, PyObject *text) {
    uint32_t bytes = (uint32_t)tk_put_utf8(to + 4, text);
    memcpy(to, &bytes, 4);
    return 4 + (size_t)bytes;
}
