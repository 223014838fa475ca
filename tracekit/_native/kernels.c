/* tracekit._native._kernels: what the collector and the readers of logs cannot do fast enough in Python.

   kernels_fold.c      slots of the ring -> columns of events (record/pairing.py)
   kernels_stamps.c    when the ring was written how far (record/decode.py)
   kernels_stacks.c    call path nodes -> stacks of a log (record/offsets.py)
   kernels_codec*.c    columns of events <-> their bytes in a log (log/columns.py)
   kernels_pairs.c     columns of events -> lifetimes of blocks (log/lifetimes.py)
   kernels_steps.c     blocks in any order -> steps in order of events (store/placing.py)
   kernels_sim_*.c     allocations and frees -> what CPython's memory manager makes of them (simulator/fast.py)

   Whatever these do, Python code in the named modules does as well, slower. */
#include "kernels.h"

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "tracekit._native._kernels",
    .m_doc = "Kernels of the collector and of the readers of logs.",
    .m_size = -1,
    .m_methods = tk_steps_methods,
};

PyMODINIT_FUNC PyInit__kernels(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module != NULL &&
        (PyModule_AddType(module, &tk_fold_type) != 0 || PyModule_AddType(module, &tk_stamps_type) != 0 ||
         PyModule_AddType(module, &tk_codec_type) != 0 || PyModule_AddType(module, &tk_stacks_type) != 0 ||
         PyModule_AddType(module, &tk_pairs_type) != 0 || PyModule_AddType(module, &tk_simulator_type) != 0)) {
        Py_CLEAR(module);
    }
    return module;
}
