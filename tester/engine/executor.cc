#include "executor.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "errors.h"
#include "isa.h"

namespace {

constexpr std::size_t kCandidates[] = {1, 2, 4, 8, 16};
// Networks that are kept, each for a batch size with memory of its own. As many as Paddle's tester keeps shapes.
constexpr std::size_t kNetworks = 10;
constexpr double kSeconds = 0.03;  // of measuring a candidate, but at least two runs
constexpr double kHopeless = 1.05;  // slower than the best by so much, twice: larger ones are not tried

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Executor::Executor(const std::string& path, int batch, int micro_batch, const NetworkOptions& options)
    : file_(path), options_(options), weights_(file_, cpu_) {
  if (!options.own_kernels || !HasAvx512Vbmi() || !Network::OnlyQuantizes(file_)) options_.levels = nullptr;
  if (options.bf16 && file_.int8()) throw Error(kModelError, path + ": --bf16 of an INT8 model", "an FP32 model's file");
  micro_batch_ = static_cast<std::size_t>(micro_batch);
  if (micro_batch == 0) Choose(static_cast<std::size_t>(batch));
  micro_batch_ = std::min(micro_batch_, static_cast<std::size_t>(batch));
  NetworkFor(micro_batch_);
}

Network& Executor::NetworkFor(std::size_t batch) {
  if (networks_.count(batch) == 0 && networks_.size() == kNetworks) DropOldest();
  Kept& kept = networks_[batch];
  kept.used = ++turn_;
  if (!kept.network) kept.network = std::make_unique<Network>(file_, &weights_, cpu_, batch, options_);
  return *kept.network;
}

void Executor::DropOldest() {
  networks_.erase(std::min_element(networks_.begin(), networks_.end(), [](const auto& a, const auto& b) {
    return a.second.used < b.second.used;
  }));
}

void Executor::Choose(std::size_t batch) {
  micro_batch_ = batch;
  if (batch == 1) return;
  std::vector<std::size_t> sizes;
  for (std::size_t size : kCandidates) {
    if (size < batch) sizes.push_back(size);
  }
  sizes.push_back(batch);
  const std::vector<float> pixels(batch * file_.input().elements(), 0.5f);  // as bytes more than enough, too
  std::vector<float> scores(batch * file_.classes());
  double best = 0;
  int hopeless = 0;
  for (std::size_t size : sizes) {
    const double seconds = SecondsPerImage(size, pixels.data(), scores.data());
    if (best == 0 || seconds < best) {
      best = seconds;
      micro_batch_ = size;
    }
    hopeless = seconds > best * kHopeless ? hopeless + 1 : 0;
    if (hopeless == 2) break;
  }
  for (std::size_t size : sizes) {
    if (size != micro_batch_) networks_.erase(size);
  }
}

// The least of several runs: what else happens on the machine only adds to it.
double Executor::SecondsPerImage(std::size_t batch, const void* pixels, float* scores) {
  Network& network = NetworkFor(batch);
  network.Run(pixels, scores);
  const double start = Now();
  double least = 0;
  for (int runs = 0; runs < 2 || Now() - start < kSeconds; ++runs) {
    const double before = Now();
    network.Run(pixels, scores);
    const double seconds = Now() - before;
    if (runs == 0 || seconds < least) least = seconds;
  }
  return least / static_cast<double>(batch);
}

void Executor::Run(std::size_t images, const void* pixels, float* scores) {
  const std::size_t image_bytes = file_.input().elements() * (takes_bytes() ? 1 : sizeof(float));
  for (std::size_t done = 0; done < images;) {
    const std::size_t batch = std::min(micro_batch_, images - done);
    NetworkFor(batch).Run(static_cast<const char*>(pixels) + done * image_bytes, scores + done * file_.classes());
    done += batch;
  }
}
