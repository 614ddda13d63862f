// The functions of Intel's OpenMP library that the engine calls.
#pragma once

extern "C" int omp_get_max_threads();
extern "C" int omp_get_thread_num();
extern "C" void omp_set_num_threads(int);
