// A predictor for image classification on oneDNN: one setting for FP32 and INT8 alike. There are two of them, of which a
// program is linked with one: Paddle's (predictor.cc) and our own engine's (engine/engine_predictor.cc).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "flags.h"
#include "levels.h"

// Which of the two it is, as the results name it: "cpp" or "engine".
extern const char kTesterName[];

// Version of the library that this program runs with, Paddle or oneDNN. Throws if it is not one that our declarations of
// it describe.
std::string CheckLibraryVersion();

// What one batch gives: scores of each class, or the model's own accuracy.
struct Output {
  std::vector<float> scores;  // [images, classes], empty with an accuracy layer
  int classes = 0;
  double top1 = 0, top5 = 0;  // with an accuracy layer only
};

class Predictor {
 public:
  // `levels`: of a file of uint8 images (data_file.h), null otherwise. They must outlive the predictor.
  Predictor(const Flags& flags, int height, int width, const Levels* levels);
  ~Predictor();

  // Whether Run takes the file's uint8 images and normalises them itself, which is then part of the latency.
  bool takes_bytes() const;
  // Lends the input to the library (where that can, see predictor.cc), runs, copies the output. `pixels`: [images, 3, H, W],
  // uint8 where takes_bytes(), else float32. `labels` are used only with an accuracy layer.
  void Run(int images, const void* pixels, const std::int64_t* labels, Output* output);

 private:
  struct Handles;
  void Load(const Flags& flags);
  void CheckInputs() const;
  void CheckOutputShape(int images, const std::vector<int>& shape) const;
  double ReadAccuracy(int index, const char* name);

  std::string model_;
  bool accuracy_layer_;
  int height_, width_;
  std::unique_ptr<Handles> handles_;
};
