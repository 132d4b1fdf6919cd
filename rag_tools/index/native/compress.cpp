#include "compress.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "search.h"

namespace rag_tools {
namespace {

constexpr int64_t kRows = 128;         // tokens, and
constexpr int64_t kCandidates = 512;   // centroids compared at a time: their scores fit the cache

constexpr double kDeviation = 46;      // residual._DEVIATION
constexpr double kNoDeviation = 1e-30;   // residual._NO_DEVIATION

void assign_some(const Kernel& kernel, const float* rows, int n, const Centroids& centroids,
                 int64_t first, int64_t last, float* scores, int32_t* nearest) {
    std::vector<float> best(n, -std::numeric_limits<float>::infinity());
    for (int64_t begin = first; begin < last; begin += kCandidates) {
        const int64_t count = std::min(kCandidates, last - begin);
        const Centroids some = {centroids.quantized + begin * centroids.dim,
                                centroids.scales + begin, count, centroids.dim};
        centroid_scores(kernel, {rows, n, centroids.dim}, some, 1, scores);
        for (int row = 0; row < n; ++row) {
            const float* of_row = scores + row * count;
            for (int64_t i = 0; i < count; ++i) {
                if (of_row[i] > best[row]) {
                    best[row] = of_row[i];
                    nearest[row] = static_cast<int32_t>(begin + i);
                }
            }
        }
    }
}

}  // namespace

void assign(const Kernel& kernel, const float* vectors, int64_t n_vectors, const Groups& groups,
            const Centroids& centroids, int32_t* nearest) {
    const size_t dim = static_cast<size_t>(centroids.dim);
    std::vector<float> rows(kRows * dim), scores(kRows * kCandidates);
    int32_t found[kRows];
    for (int64_t group = 0; group < groups.n; ++group) {
        const int64_t first = groups.firsts[group], last = groups.lasts[group];
        if (first < 0 || first >= last || last > centroids.n)
            throw std::out_of_range("a token's centroids aren't in the codebook");
        if (groups.starts[group] < 0 || groups.starts[group + 1] > groups.n_rows)
            throw std::out_of_range("a group's tokens aren't listed");
        for (int64_t from = groups.starts[group]; from < groups.starts[group + 1]; from += kRows) {
            const int n = static_cast<int>(std::min(kRows, groups.starts[group + 1] - from));
            for (int row = 0; row < n; ++row) {
                const int64_t token = groups.rows[from + row];
                if (token < 0 || token >= n_vectors)
                    throw std::out_of_range("a token isn't among the vectors");
                std::memcpy(rows.data() + row * dim, vectors + token * dim, dim * sizeof(float));
            }
            std::fill_n(found, n, static_cast<int32_t>(first));
            if (last - first > 1)
                assign_some(kernel, rows.data(), n, centroids, first, last, scores.data(), found);
            for (int row = 0; row < n; ++row) nearest[groups.rows[from + row]] = found[row];
        }
    }
}

namespace {

double square_of(const std::vector<float>& vector) {
    double sum = 0;
    for (const float value : vector) sum += static_cast<double>(value) * value;
    return sum;
}

// The codes of `n` dimensions, of one number of bits, and what they stand for.
void choose_codes(const float* scaled, int n, int bits, const int8_t* values, const float* steps,
                  int32_t* codes, float* shape) {
    std::fill_n(codes, n, 0);
    for (int bucket = 0; bucket < (1 << bits) - 1; ++bucket) {
        const float cutoff = static_cast<float>(values[bucket] + values[bucket + 1]) / 2;
        // Not "at least": what isn't a number is in the last bucket, as NumPy sorts it.
        for (int i = 0; i < n; ++i) codes[i] += !(scaled[i] < cutoff);
    }
    for (int i = 0; i < n; ++i) shape[i] = static_cast<float>(values[codes[i]]) * steps[i];
}

// See residual.pack.
void pack(const int32_t* codes, int groups, int bits, uint8_t* packed) {
    const int per_byte = 8 / bits;
    for (int group = 0; group < groups; ++group) {
        for (int j = 0; j < 4; ++j) {
            int byte = 0;
            for (int i = 0; i < per_byte; ++i)
                byte |= codes[(group * per_byte + i) * 4 + j] << (i * bits);
            packed[group * 4 + j] = static_cast<uint8_t>(byte);
        }
    }
}

struct Gain {
    uint8_t gain;
    float inverse_norm;
};

// See residual.fit_gains.
Gain fit_gain(const float* vector, const std::vector<float>& base,
              const std::vector<float>& shape) {
    double with_base = 0, with_shape = 0, of_base = 0, of_shape = 0, across = 0;
    for (size_t i = 0; i < base.size(); ++i) {
        with_base += static_cast<double>(vector[i]) * base[i];
        with_shape += static_cast<double>(vector[i]) * shape[i];
        of_base += static_cast<double>(base[i]) * base[i];
        of_shape += static_cast<double>(shape[i]) * shape[i];
        across += static_cast<double>(base[i]) * shape[i];
    }
    const double along_base = with_base * of_shape - with_shape * across;
    const double along_shape = with_shape * of_base - with_base * across;
    double gain = 0;
    if (along_shape > 0 && along_base > 0)
        gain = std::nearbyint(std::min(along_shape / along_base, 255.0));
    const double square = of_base + 2 * gain * across + gain * gain * of_shape;
    const double norm = std::sqrt(square < 0 ? 0 : square);
    return {static_cast<uint8_t>(gain), static_cast<float>(1 / (norm < 1e-6 ? 1e-6 : norm))};
}

}  // namespace

void encode(const float* vectors, const int32_t* nearest, int64_t n, const Centroids& centroids,
            const Codec& codec, uint8_t* packed, uint8_t* gains, float* inverse_norms) {
    const int dim = centroids.dim;
    const CodeLayout& layout = codec.layout;
    // Beyond the last dimension codes stay zero.
    std::vector<int32_t> codes(static_cast<size_t>(layout.padded()), 0);
    std::vector<float> base(dim), scaled(dim), shape(dim);
    for (int64_t token = 0; token < n; ++token) {
        if (nearest[token] < 0 || nearest[token] >= centroids.n)
            throw std::out_of_range("a token's centroid isn't in the codebook");
        const float* vector = vectors + token * dim;
        const int8_t* quantized = centroids.quantized + static_cast<int64_t>(nearest[token]) * dim;
        const float scale = centroids.scales[nearest[token]];
        for (int i = 0; i < dim; ++i) {
            base[i] = static_cast<float>(quantized[i]) * scale;
            scaled[i] = (vector[i] - base[i]) / codec.steps[i];
        }
        const double deviation = std::sqrt(square_of(scaled) / dim) / kDeviation;
        const float unit = static_cast<float>(deviation < kNoDeviation ? kNoDeviation : deviation);
        for (int i = 0; i < dim; ++i) scaled[i] /= unit;
        choose_codes(scaled.data(), layout.leading, layout.leading_bits, codec.values, codec.steps,
                     codes.data(), shape.data());
        choose_codes(scaled.data() + layout.leading, dim - layout.leading, layout.bits,
                     codec.values + kValues, codec.steps + layout.leading,
                     codes.data() + layout.leading, shape.data() + layout.leading);
        const Gain fitted = fit_gain(vector, base, shape);
        gains[token] = fitted.gain;
        inverse_norms[token] = fitted.inverse_norm;
        uint8_t* out = packed + token * layout.groups * 4;
        pack(codes.data(), layout.leading_groups, layout.leading_bits, out);
        pack(codes.data() + layout.leading, layout.groups - layout.leading_groups, layout.bits,
             out + layout.leading_groups * 4);
    }
}

std::vector<uint32_t> postings(const int32_t* ids, int64_t n_tokens, const int64_t* token_offsets,
                               int64_t n_passages, int64_t n_ids, uint32_t* offsets) {
    // Count, then place: a passage counts once for an id, however many of its tokens have it.
    std::vector<int64_t> latest(static_cast<size_t>(n_ids), -1);
    std::fill_n(offsets, n_ids + 1, 0u);
    const auto each = [&](const auto& visit) {
        for (int64_t passage = 0; passage < n_passages; ++passage) {
            const int64_t first = token_offsets[passage], last = token_offsets[passage + 1];
            if (first < 0 || last < first || last > n_tokens)
                throw std::out_of_range("a passage's tokens aren't there");
            for (int64_t token = first; token < last; ++token) {
                const int32_t id = ids[token];
                if (id < 0 || id >= n_ids) throw std::out_of_range("an id is too large");
                if (latest[id] != passage) {
                    latest[id] = passage;
                    visit(id, passage);
                }
            }
        }
    };
    each([&](int32_t id, int64_t) { ++offsets[id + 1]; });
    for (int64_t id = 0; id < n_ids; ++id) offsets[id + 1] += offsets[id];
    std::vector<uint32_t> passages(offsets[n_ids]);
    std::vector<uint32_t> next(offsets, offsets + n_ids);
    std::fill(latest.begin(), latest.end(), -1);
    each([&](int32_t id, int64_t passage) {
        passages[next[id]++] = static_cast<uint32_t>(passage);
    });
    return passages;
}

}  // namespace rag_tools
