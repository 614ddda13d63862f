#include "memory_plan.h"

#include <algorithm>

namespace {

constexpr std::size_t kAlignment = 64;

struct Block {
  std::size_t offset, bytes;
};

// First fit among the gaps between blocks in use, which are kept in the order of their offsets.
class Arena {
 public:
  std::size_t Take(std::size_t bytes) {
    std::size_t offset = 0;
    auto next = used_.begin();
    for (; next != used_.end() && next->offset - offset < bytes; ++next) offset = next->offset + next->bytes;
    used_.insert(next, {offset, bytes});
    highest_ = std::max(highest_, offset + bytes);
    return offset;
  }

  void Give(std::size_t offset) {
    used_.erase(std::find_if(used_.begin(), used_.end(), [&](const Block& b) { return b.offset == offset; }));
  }

  std::size_t highest() const { return highest_; }

 private:
  std::vector<Block> used_;
  std::size_t highest_ = 0;
};

}  // namespace

MemoryPlan PlanMemory(const PlanFile& file, std::size_t batch, bool keep_input) {
  const auto& operators = file.operators();
  const std::size_t never = operators.size();
  std::vector<std::size_t> last_use(file.tensors().size(), 0);
  for (std::size_t i = 0; i < operators.size(); ++i) {
    last_use[operators[i].source] = i;
    if (operators[i].second != kNoTensor) last_use[operators[i].second] = i;
  }
  last_use[operators.back().destination] = never;

  MemoryPlan plan;
  plan.offsets.assign(file.tensors().size(), 0);
  plan.in_place.assign(operators.size(), false);
  std::vector<bool> live(file.tensors().size(), false);
  Arena arena;
  const auto place = [&](std::size_t tensor) {
    const std::size_t bytes = file.tensors()[tensor].bytes() * batch;
    plan.offsets[tensor] = arena.Take((bytes + kAlignment - 1) / kAlignment * kAlignment);
    live[tensor] = true;
  };
  if (keep_input) place(0);
  for (std::size_t i = 0; i < operators.size(); ++i) {
    const Operator& op = operators[i];
    // A convolution adds into the memory that holds the summand, if nobody needs the summand afterwards.
    if (op.kind == Kind::kConvolution && op.second != kNoTensor && op.second != op.source && last_use[op.second] == i) {
      plan.in_place[i] = true;
      plan.offsets[op.destination] = plan.offsets[op.second];
      live[op.second] = false;
      live[op.destination] = true;
    } else {
      place(op.destination);
    }
    for (std::uint32_t read : {op.source, op.second}) {
      if (read != kNoTensor && live[read] && last_use[read] == i) {
        arena.Give(plan.offsets[read]);
        live[read] = false;
      }
    }
    if (last_use[op.destination] <= i) {  // nobody reads it
      arena.Give(plan.offsets[op.destination]);
      live[op.destination] = false;
    }
  }
  plan.bytes = arena.highest();
  return plan;
}
