#include "report.h"

#include <cstdio>

#include "errors.h"
#include "json_writer.h"
#include "predictor.h"
#include "statistics.h"

// The first seven lines are worded as those of the tutorial's tester; what follows is ours.
void PrintReport(const Flags& flags, const Measurement& m) {
  const Summary s = Summarise(m.latencies_ms);
  const double sample_ms = m.measured_ms / static_cast<double>(m.measured_images);
  std::printf("Model: %s\n", flags.infer_model.c_str());
  std::printf("====== num of threads: %d ======\n", flags.num_threads);
  std::printf("====== batch size: %d, iterations: %zu\n", flags.batch_size, m.latencies_ms.size());
  std::printf("====== batch latency: %.3fms, number of samples: %zu\n", s.mean, m.measured_images);
  std::printf(", sample latency: %.4fms, fps: %.2f ======\n", sample_ms, m.images_per_second());
  std::printf("Top1 acc %.4f\n", m.top1);
  std::printf("Top5 acc %.4f\n", m.top5);
  std::printf("images: %zu\n", m.images);
  std::printf("batch latency percentiles: p50 %.3fms, p90 %.3fms, p99 %.3fms, min %.3fms, max %.3fms\n", s.p50, s.p90,
              s.p99, s.min, s.max);
  if (m.partial_images > 0) {
    const bool only = m.images == m.partial_images;
    std::printf("partial batch: %zu images, %.3fms (%s)\n", m.partial_images, m.partial_ms,
                only ? "the only one: counts for accuracy and speed" : "counts for accuracy, not for speed");
  }
  std::printf("reading: %.3fms per batch beside the latency (%.2f%% of it)\n",
              m.read_ms / static_cast<double>(m.latencies_ms.size()), m.read_ms / m.measured_ms * 100);
  std::printf("threads alive: %d, busy: %d\n", m.threads_alive, m.threads_busy);
  std::printf("peak memory: %.1f MiB\n", static_cast<double>(m.peak_rss_bytes) / (1 << 20));
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) {
    throw Error(kMachineError, "cannot write to standard output", "", "make room, then run again");
  }
}

std::string ReportJson(const Flags& flags, const Setting& setting, const Measurement& m) {
  const Summary s = Summarise(m.latencies_ms);
  JsonObject latency, partial, json(",\n ");
  latency.Real("mean", s.mean).Real("p50", s.p50).Real("p90", s.p90).Real("p99", s.p99);
  latency.Real("min", s.min).Real("max", s.max);
  partial.Integer("images", static_cast<long long>(m.partial_images)).Real("latency_ms", m.partial_ms);
  json.Integer("schema", 1).Text("tester", kTesterName).Text("paddle_version", setting.paddle_version);
  json.Text("infer_model", flags.infer_model).Text("infer_data", flags.infer_data);
  json.Raw("fingerprint", setting.fingerprint.empty() ? "null" : setting.fingerprint);
  json.Integer("batch_size", flags.batch_size).Integer("num_threads", flags.num_threads);
  json.Integer("warmup_size", flags.warmup_size).Integer("images", static_cast<long long>(m.images));
  json.Integer("measured_images", static_cast<long long>(m.measured_images));
  json.Integer("measured_batches", static_cast<long long>(m.latencies_ms.size()));
  json.Real("images_per_second", m.images_per_second()).Raw("latency_ms", latency.str());
  json.Raw("latencies_ms", JsonArray(m.latencies_ms));
  json.Raw("partial_batch", m.partial_images > 0 ? partial.str() : "null");
  json.Real("read_ms", m.read_ms);
  json.Real("top1", m.top1).Real("top5", m.top5).Raw("predictions", JsonArray(m.predictions));
  json.Real("init_ms", setting.init_ms).Integer("peak_rss_bytes", m.peak_rss_bytes);
  json.Integer("threads_alive", m.threads_alive).Integer("threads_busy", m.threads_busy);
  json.Raw("affinity", JsonArray(setting.affinity));
  return json.str() + "\n";
}
