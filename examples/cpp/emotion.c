// Which emotion a voice holds, by the TFLite C API:
//   emotion ser.tflite labels.txt < samples    (float32, 16 kHz, mono, in [-1, 1], at most 3.6 s)
#include <stdio.h>
#include <string.h>

#include "tensorflow/lite/c/c_api.h"

#define CHECK(good, words) \
  if (!(good)) return fprintf(stderr, "emotion: %s\n", words), 1

int main(int argc, char** argv) {
  CHECK(argc == 3, "usage: emotion MODEL LABELS < SAMPLES");
  TfLiteModel* model = TfLiteModelCreateFromFile(argv[1]);
  CHECK(model, "the model cannot be read");
  FILE* labels = fopen(argv[2], "r");
  CHECK(labels, "the labels cannot be read");
  TfLiteInterpreter* interpreter = TfLiteInterpreterCreate(model, NULL);
  CHECK(interpreter && TfLiteInterpreterAllocateTensors(interpreter) == kTfLiteOk,
        "the model does not run on this version of TFLite");

  TfLiteTensor* input = TfLiteInterpreterGetInputTensor(interpreter, 0);  // float32[1, 57600]
  float* waveform = (float*)TfLiteTensorData(input);
  memset(waveform, 0, TfLiteTensorByteSize(input));  // what is not spoken is silence
  CHECK(fread(waveform, 1, TfLiteTensorByteSize(input), stdin), "there are no samples");
  CHECK(TfLiteInterpreterInvoke(interpreter) == kTfLiteOk, "the model failed");

  const TfLiteTensor* output = TfLiteInterpreterGetOutputTensor(interpreter, 0);  // float32[1, 8]
  const float* probabilities = (const float*)TfLiteTensorData(output);
  char label[64];
  for (int i = 0; i < TfLiteTensorDim(output, 1) && fscanf(labels, "%63s", label) == 1; i++)
    printf("%-10s %.6f\n", label, probabilities[i]);

  fclose(labels);
  TfLiteInterpreterDelete(interpreter);
  TfLiteModelDelete(model);
  return 0;
}
