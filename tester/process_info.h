// What the kernel says of this process: memory, threads, allowed CPUs; and what the CPU can do.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

// Highest resident set size so far (VmHWM). getrusage's ru_maxrss would not do: it survives exec, so a small program
// started by a large one would report the large one's.
std::int64_t PeakRssBytes();

// CPUs that the kernel allows this process. Ask before OpenMP starts: KMP_AFFINITY binds the main thread to one.
std::vector<int> AllowedCpus();

// Throws where the CPU has neither avx512_bf16 nor amx_bf16: bfloat16 would be imitated there, or not be used at all.
void CheckBf16();

// CPU time of each thread of this process in seconds, by thread id.
using ThreadTimes = std::map<int, double>;
ThreadTimes ReadThreadTimes();

// Threads that were busy for at least a tenth of `seconds` between two readings.
int CountBusyThreads(const ThreadTimes& before, const ThreadTimes& after, double seconds);
