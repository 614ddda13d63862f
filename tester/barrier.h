// Lets a caller start several testers at the same moment.
#pragma once

#include <cstdint>
#include <string>

// Nanoseconds on CLOCK_MONOTONIC, which all processes of a machine share.
std::int64_t MonotonicNow();

// Sleeps, and for the last stretch spins, because a sleeper wakes up some 50 us late.
void WaitUntil(std::int64_t monotonic_ns);

// Writes the line "ready" to standard output and waits for one on standard input: the nanosecond on CLOCK_MONOTONIC at
// which to start, or nothing to start at once (Enter, for a user at two terminals). The input's end instead is an
// error: the caller has died, and nobody must be left waiting.
void WaitAtBarrier();

// What such a line says; 0 for an empty one. Throws a usage error for anything but digits, and for a past or far time.
std::int64_t ParseStart(const std::string& line, std::int64_t now);
