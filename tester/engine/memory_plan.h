// Where each tensor lies: tensors that are not needed at the same time share memory.
#pragma once

#include <cstddef>
#include <vector>

#include "plan_file.h"

struct MemoryPlan {
  std::vector<std::size_t> offsets;  // of each tensor, in one block
  std::vector<bool> in_place;        // of each operator: its destination lies where its second source lay
  std::size_t bytes = 0;             // of the block
};

// For `batch` images. The input, tensor 0, gets a place only when `keep_input` says so.
MemoryPlan PlanMemory(const PlanFile& file, std::size_t batch, bool keep_input);
