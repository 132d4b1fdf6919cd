// The writing side as Python sees it; the rest of the module is in module.cpp.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "compress.h"
#include "dispatch.h"

namespace nb = nanobind;
using namespace rag_tools;

namespace {

template <class T, int N>
using In = nb::ndarray<const T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
template <class T, int N>
using Out = nb::ndarray<nb::numpy, T, nb::ndim<N>>;

void require(bool holds, const char* what) {
    if (!holds) throw std::invalid_argument(what);
}

template <class T, int N>
Out<T, N> owned(std::unique_ptr<T[]> data, std::initializer_list<size_t> shape) {
    T* raw = data.release();
    nb::capsule owner(raw, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    return Out<T, N>(raw, shape, owner);
}

Centroids centroids_of(const In<int8_t, 2>& quantized, const In<float, 1>& scales) {
    require(scales.shape(0) == quantized.shape(0), "one scale for each centroid");
    require(quantized.shape(1) >= 1 && quantized.shape(1) <= kMaxDim,
            "embeddings have 1 to 1024 dimensions");
    return {quantized.data(), scales.data(), static_cast<int64_t>(quantized.shape(0)),
            static_cast<int>(quantized.shape(1))};
}

Out<int32_t, 1> py_assign(const std::string& kernel, In<float, 2> vectors, In<int64_t, 1> rows,
                          In<int64_t, 1> starts, In<int64_t, 1> firsts, In<int64_t, 1> lasts,
                          In<int8_t, 2> quantized, In<float, 1> scales) {
    const Centroids centroids = centroids_of(quantized, scales);
    const size_t n = vectors.shape(0), n_groups = firsts.shape(0);
    require(vectors.shape(1) == quantized.shape(1), "tokens and centroids differ in dimensions");
    require(rows.shape(0) == n, "every token is in a group");
    require(lasts.shape(0) == n_groups && starts.shape(0) == n_groups + 1, "groups have ends");
    const Groups groups = {rows.data(),  starts.data(), firsts.data(),
                           lasts.data(), static_cast<int64_t>(n_groups), static_cast<int64_t>(n)};
    const Kernel& chosen = kernel_named(kernel);
    std::unique_ptr<int32_t[]> nearest(new int32_t[n]());
    {
        nb::gil_scoped_release released;
        assign(chosen, vectors.data(), static_cast<int64_t>(n), groups, centroids, nearest.get());
    }
    return owned<int32_t, 1>(std::move(nearest), {n});
}

std::tuple<Out<uint8_t, 3>, Out<uint8_t, 1>, Out<float, 1>> py_encode(
    In<float, 2> vectors, In<int32_t, 1> nearest, In<int8_t, 2> quantized, In<float, 1> scales,
    In<int8_t, 2> values, In<float, 1> steps, int bits) {
    const Centroids centroids = centroids_of(quantized, scales);
    const size_t n = vectors.shape(0), dim = vectors.shape(1);
    require(dim == quantized.shape(1), "tokens and centroids differ in dimensions");
    require(nearest.shape(0) == n, "one centroid for each token");
    require(values.shape(0) == 2 && values.shape(1) == kValues, "two tables of 16 values");
    require(bits == 4 || bits == 2 || bits == 1, "4, 2 or 1 bits");
    require(steps.shape(0) == dim, "a step for each dimension");
    const CodeLayout layout = CodeLayout::of(static_cast<int>(dim), bits);
    const Codec codec = {values.data(), steps.data(), layout};
    const size_t groups = static_cast<size_t>(layout.groups);
    std::unique_ptr<uint8_t[]> packed(new uint8_t[n * groups * 4]);
    std::unique_ptr<uint8_t[]> gains(new uint8_t[n]);
    std::unique_ptr<float[]> inverse_norms(new float[n]);
    {
        nb::gil_scoped_release released;
        encode(vectors.data(), nearest.data(), static_cast<int64_t>(n), centroids, codec,
               packed.get(), gains.get(), inverse_norms.get());
    }
    return {owned<uint8_t, 3>(std::move(packed), {n, groups, 4}),
            owned<uint8_t, 1>(std::move(gains), {n}),
            owned<float, 1>(std::move(inverse_norms), {n})};
}

std::pair<Out<uint32_t, 1>, Out<uint32_t, 1>> py_postings(In<int32_t, 1> ids,
                                                          In<int64_t, 1> token_offsets,
                                                          int64_t n_ids) {
    require(token_offsets.shape(0) >= 1, "token offsets have an end");
    require(n_ids >= 0, "a number of ids");
    std::unique_ptr<uint32_t[]> offsets(new uint32_t[static_cast<size_t>(n_ids) + 1]);
    auto passages = std::make_unique<std::vector<uint32_t>>();
    {
        nb::gil_scoped_release released;
        *passages = postings(ids.data(), static_cast<int64_t>(ids.shape(0)), token_offsets.data(),
                             static_cast<int64_t>(token_offsets.shape(0)) - 1, n_ids,
                             offsets.get());
    }
    std::vector<uint32_t>* raw = passages.release();
    nb::capsule owner(raw,
                      [](void* p) noexcept { delete static_cast<std::vector<uint32_t>*>(p); });
    return {owned<uint32_t, 1>(std::move(offsets), {static_cast<size_t>(n_ids) + 1}),
            Out<uint32_t, 1>(raw->data(), {raw->size()}, owner)};
}

}  // namespace

void add_compress(nb::module_& m) {
    m.def("assign", &py_assign, nb::arg("kernel"), nb::arg("vectors").noconvert(),
          nb::arg("rows").noconvert(), nb::arg("starts").noconvert(),
          nb::arg("firsts").noconvert(), nb::arg("lasts").noconvert(),
          nb::arg("quantized").noconvert(), nb::arg("scales").noconvert());
    m.def("encode", &py_encode, nb::arg("vectors").noconvert(), nb::arg("nearest").noconvert(),
          nb::arg("quantized").noconvert(), nb::arg("scales").noconvert(),
          nb::arg("values").noconvert(), nb::arg("steps").noconvert(), nb::arg("bits"));
    m.def("postings", &py_postings, nb::arg("ids").noconvert(),
          nb::arg("token_offsets").noconvert(), nb::arg("n_ids"));
}
