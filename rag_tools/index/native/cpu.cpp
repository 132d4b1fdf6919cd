#include "cpu.h"

#if defined(_MSC_VER) && !defined(__clang__) && defined(_M_X64)

#include <immintrin.h>
#include <intrin.h>

namespace {

bool bit(int leaf, int reg, int index) {
    int registers[4];
    __cpuid(registers, 0);
    if (registers[0] < leaf) return false;
    __cpuidex(registers, leaf, 0);
    return (registers[reg] >> index & 1) != 0;
}

bool system_saves(unsigned long long states) {
    const bool osxsave = bit(1, 2, 27);
    return osxsave && (_xgetbv(0) & states) == states;
}

}  // namespace

bool rag_tools::cpu_has_avx2() { return system_saves(0x06) && bit(7, 1, 5); }
bool rag_tools::cpu_has_avx512vnni() {
    return system_saves(0xe6) && bit(7, 1, 16) && bit(7, 1, 30) && bit(7, 2, 11);
}

#elif defined(__x86_64__)

bool rag_tools::cpu_has_avx2() { return __builtin_cpu_supports("avx2"); }
bool rag_tools::cpu_has_avx512vnni() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vnni");
}

#else

bool rag_tools::cpu_has_avx2() { return false; }
bool rag_tools::cpu_has_avx512vnni() { return false; }

#endif

#if defined(__aarch64__) && defined(__linux__)

#include <sys/auxv.h>

bool rag_tools::cpu_has_dot_product() {
    constexpr unsigned long asimddp = 1ul << 20;
    return (getauxval(AT_HWCAP) & asimddp) != 0;
}

#elif defined(__aarch64__) && defined(__APPLE__)

bool rag_tools::cpu_has_dot_product() { return true; }

#else

bool rag_tools::cpu_has_dot_product() { return false; }

#endif
