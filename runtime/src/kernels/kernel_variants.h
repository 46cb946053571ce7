// The tables of inner loops that kernel.cc chooses from.
#pragma once
#include "kernels/kernel.h"

#define MICROSCOPIQ_KERNEL_TABLE(isa)                                      \
  {#isa,     isa::Decode, isa::Multiply,    isa::MultiplyWide, isa::Drain, \
   isa::Add, isa::Clamp,  isa::MaxExponent, isa::Quantize}

namespace microscopiq {

extern const Kernels kPortableKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

}  // namespace microscopiq
