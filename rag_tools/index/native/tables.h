// The table of each instruction set: constant data, which running no code brings about. For the
// files that define them and for dispatch.cpp, which hands them out; nothing else includes this.
// A table without functions stands for an instruction set that wasn't built.

#pragma once

#include "kernel.h"

namespace rag_tools {

extern const Kernel kAvx512Vnni;
extern const Kernel kAvxVnni;
extern const Kernel kAvx2;
extern const Kernel kSse41;
extern const Kernel kNeon;
extern const Kernel kScalar;

}  // namespace rag_tools
