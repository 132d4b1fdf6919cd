// Plain C++: every machine. Loops over lanes are short and fixed, for the compiler to vectorise.

#include "stages.h"
#include "tables.h"

namespace rag_tools {
namespace {

struct Scalar {
    static constexpr const char* kName = "scalar";
    static constexpr int kWidth = 8;
    using Element = int16_t;
    struct Floats {
        float lanes[kWidth];
    };
    static constexpr bool kCoarse = false;

    static void arrange(const int16_t* rows, int padded, int groups, void* arranged,
                        int32_t* bias) {
        int16_t* out = static_cast<int16_t*>(arranged);
        for (int row = 0; row < padded; ++row) {
            for (int dim = 0; dim < groups * 4; ++dim) {
                const ptrdiff_t start =
                    (static_cast<ptrdiff_t>(row / kWidth) * groups + dim / 4) * 4 * kWidth;
                out[start + dim % 4 * kWidth + row % kWidth] = rows[row * groups * 4 + dim];
            }
        }
        for (int row = 0; row < 2 * padded; ++row) bias[row] = 0;
    }

    template <int bits>
    static void decode(const uint8_t* codes, int packed_groups,
                       const int8_t* values, Element* out) {
        const int mask = (1 << bits) - 1;
        for (int group = 0; group < packed_groups; ++group)
            for (int shift = 0; shift < 8; shift += bits)
                for (int i = 0; i < 64; ++i)
                    *out++ = values[(codes[group * 64 + i] >> shift) & mask];
    }

    static void widen(const int8_t* values, int n, Element* out, int padded) {
        for (int i = 0; i < n; ++i) out[i] = values[i];
        for (int i = n; i < padded; ++i) out[i] = 0;
    }

    struct Exact {
        static constexpr int kRegisters = 1;
        static constexpr int kTile = 8;
        struct Row {
            const int16_t* values;   // [4][kWidth]
        };
        struct Sum {
            int32_t lanes[kWidth];
        };
        static Sum start(const Query&, int) { return {}; }
        static Row row(const Query&, const char* at) {
            return {reinterpret_cast<const int16_t*>(at)};
        }
        static void add(Sum& sum, const Row& row, const Element* token) {
            for (int lane = 0; lane < kWidth; ++lane)
                for (int dim = 0; dim < 4; ++dim)
                    sum.lanes[lane] += row.values[dim * kWidth + lane] * token[dim];
        }
        static Floats total(const Sum& sum, int) {
            Floats floats;
            for (int lane = 0; lane < kWidth; ++lane)
                floats.lanes[lane] = static_cast<float>(sum.lanes[lane]);
            return floats;
        }
    };

    struct Cell : Exact {
        struct Row {
            const int8_t* values;   // [kWidth][4]
        };
        static Sum start(const Tile&, int) { return {}; }
        static Row row(const Tile&, const char* at) {
            return {reinterpret_cast<const int8_t*>(at)};
        }
        static void add(Sum& sum, const Row& row, const Element* token) {
            for (int lane = 0; lane < kWidth; ++lane)
                for (int dim = 0; dim < 4; ++dim)
                    sum.lanes[lane] += row.values[lane * 4 + dim] * token[dim];
        }
    };

    static Floats set(float value) {
        Floats floats;
        for (float& lane : floats.lanes) lane = value;
        return floats;
    }
    static Floats load(const float* at) {
        Floats floats;
        for (int lane = 0; lane < kWidth; ++lane) floats.lanes[lane] = at[lane];
        return floats;
    }
    static void store(float* at, const Floats& a) {
        for (int lane = 0; lane < kWidth; ++lane) at[lane] = a.lanes[lane];
    }
    static Floats plus(Floats a, const Floats& b) {
        for (int lane = 0; lane < kWidth; ++lane) a.lanes[lane] += b.lanes[lane];
        return a;
    }
    static Floats times(Floats a, const Floats& b) {
        for (int lane = 0; lane < kWidth; ++lane) a.lanes[lane] *= b.lanes[lane];
        return a;
    }
    static Floats larger(Floats a, const Floats& b) {
        for (int lane = 0; lane < kWidth; ++lane)
            a.lanes[lane] = a.lanes[lane] > b.lanes[lane] ? a.lanes[lane] : b.lanes[lane];
        return a;
    }
};

}  // namespace

constexpr Kernel kScalar = Stages<Scalar>::table();

}  // namespace rag_tools
