#include "kernels/kernel.h"

#include <atomic>

#include "kernels/kernel_variants.h"

namespace microscopiq {
namespace {

// Best first.
std::vector<const Kernels*> Supported() {
  std::vector<const Kernels*> found;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vnni")) {
    found.push_back(&kAvx512Kernels);
  }
  if (__builtin_cpu_supports("avx2")) found.push_back(&kAvx2Kernels);
#endif
  found.push_back(&kPortableKernels);
  return found;
}

std::atomic<const Kernels*>& Active() {
  static std::atomic<const Kernels*> active{Supported().front()};
  return active;
}

}  // namespace

const Kernels& ActiveKernels() { return *Active().load(); }

std::vector<std::string> KernelNames() {
  std::vector<std::string> names;
  for (const Kernels* kernels : Supported()) names.push_back(kernels->name);
  return names;
}

bool SelectKernels(const std::string& name) {
  for (const Kernels* kernels : Supported()) {
    if (name == kernels->name) {
      Active().store(kernels);
      return true;
    }
  }
  return false;
}

}  // namespace microscopiq
