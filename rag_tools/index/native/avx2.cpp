// AVX2: Haswell, Zen and later.

#include "tables.h"

#if defined(__x86_64__) || defined(_M_X64)

#include <immintrin.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx2")
#endif

#include "lanes256.h"
#include "pairs.h"

namespace rag_tools {
namespace {

struct Avx2 : Pairs<Lanes256> {
    static constexpr const char* kName = "avx2";
};

}  // namespace

constexpr Kernel kAvx2 = Stages<Avx2>::table();

}  // namespace rag_tools

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else

constexpr rag_tools::Kernel rag_tools::kAvx2 = {};

#endif
