// What the fuzz targets share. Each is one function, LLVMFuzzerTestOneInput: libFuzzer calls it with what it makes up
// (`make fuzz`), run_corpus.cc with what is kept in corpus/ (the normal tests).
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "crc32.h"
#include "errors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size)
    __attribute__((weak));  // libFuzzer's; not there when the corpus is run

// A file in memory with a path of its own: the readers take paths.
class MemoryFile {
 public:
  MemoryFile() : file_(memfd_create("fuzz", 0)), path_("/proc/self/fd/" + std::to_string(file_)) {}
  const std::string& Holding(const std::uint8_t* data, std::size_t size) {
    if (ftruncate(file_, 0) != 0 || pwrite(file_, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
    return path_;
  }

 private:
  int file_;
  std::string path_;
};

// Runs `action`, which may end well or with an Error of this code whose message is one line; anything else is a find.
template <typename Action>
void Expect(ExitCode code, Action action) {
  try {
    action();
  } catch (const Error& e) {
    if (e.code() == code && std::strchr(e.what(), '\n') == nullptr) return;
    std::fprintf(stderr, "unexpected: code %d, %s\n", e.code(), e.what());
    std::abort();
  } catch (const std::bad_alloc&) {  // a size that this machine has no memory for: exit code 5
  }
}

template <typename T>
T Get(const std::uint8_t* data, std::size_t at) {
  T value;
  std::memcpy(&value, data + at, sizeof value);
  return value;
}

template <typename T>
void Put(std::uint8_t* data, std::size_t at, T value) {
  std::memcpy(data + at, &value, sizeof value);
}
