// The tables of inner loops that kernel.cc chooses from.
#pragma once
#include "kernels/kernel.h"

#define MICROSCOPIQ_LOOP(Name, Result, Parameters) , MICROSCOPIQ_ISA::Name
#define MICROSCOPIQ_KERNEL_TABLE(name)                                                        \
  {name, MICROSCOPIQ_ISA::kFunctionLoops, MICROSCOPIQ_ISA::Decode, MICROSCOPIQ_ISA::Multiply, \
   MICROSCOPIQ_ISA::MultiplyWide MICROSCOPIQ_VECTOR_LOOPS(MICROSCOPIQ_LOOP)}

namespace microscopiq {

extern const Kernels kPortableKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

}  // namespace microscopiq
