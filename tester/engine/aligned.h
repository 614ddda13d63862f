// Vectors that begin on a cache line: a 64-byte load that crosses one costs two.
#pragma once

#include <cstddef>
#include <new>
#include <vector>

template <typename T>
struct OnCacheLines {
  using value_type = T;
  OnCacheLines() = default;
  template <typename U>
  OnCacheLines(const OnCacheLines<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{64})); }
  void deallocate(T* p, std::size_t) { ::operator delete(p, std::align_val_t{64}); }
  friend bool operator==(const OnCacheLines&, const OnCacheLines&) { return true; }
  friend bool operator!=(const OnCacheLines&, const OnCacheLines&) { return false; }
};

template <typename T>
using Aligned = std::vector<T, OnCacheLines<T>>;
