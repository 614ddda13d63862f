// Writes the engine's scores of every image of a data file, float32 [images, classes]:
//   dump_scores MODEL.qat8 DATA.bin SIDE BATCH MICRO_BATCH OUTPUT [OWN_KERNELS: 1 or 0]
//   ->  "uint8" or "float32", and how many convolutions Winograd's kernel does
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>

#include "data_file.h"
#include "engine/executor.h"
#include "errors.h"
#include "pixel_buffer.h"

int main(int argc, char** argv) {
  if (argc != 7 && argc != 8) return kUsageError;
  try {
    DataFile data(argv[2], std::atoi(argv[3]));
    const int batch = std::atoi(argv[4]);
    Executor executor(argv[1], batch, std::atoi(argv[5]),
                      {argc == 7 || std::atoi(argv[7]) == 1, false, data.levels()});
    const std::size_t classes = executor.file().classes(), size = static_cast<std::size_t>(batch);
    std::vector<float> scores(size * classes);
    PixelBuffer pixels(data, size, executor.takes_bytes());
    std::printf("%s %zu\n", executor.takes_bytes() ? "uint8" : "float32", executor.transformed());
    std::ofstream out(argv[6], std::ios::binary);
    for (std::size_t start = 0; start < data.count(); start += size) {
      const std::size_t images = std::min(size, data.count() - start);
      pixels.Read(&data, start, images);
      executor.Run(images, pixels.image(0), scores.data());
      out.write(reinterpret_cast<const char*>(scores.data()), static_cast<std::streamsize>(images * classes * 4));
    }
    return out.flush() ? 0 : kMachineError;
  } catch (const Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return e.code();
  }
}
