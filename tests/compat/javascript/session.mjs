// SPDX-License-Identifier: Apache-2.0
// What a user of the AWS SDK for JavaScript does; prints what came of it, as JSON.
//
// usage: node session.mjs machine NAME | node session.mjs errors
// Endpoint, region and access key are the environment's, as the SDK reads it.

import {
  CreateKeyPairCommand,
  CreateTagsCommand,
  DeleteKeyPairCommand,
  DescribeImagesCommand,
  DescribeInstancesCommand,
  DescribeRegionsCommand,
  EC2Client,
  EC2ServiceException,
  GetConsoleOutputCommand,
  RunInstancesCommand,
  TerminateInstancesCommand,
  paginateDescribeInstances,
  paginateDescribeInstanceTypes,
  paginateDescribeTags,
  waitUntilImageAvailable,
  waitUntilInstanceRunning,
  waitUntilInstanceTerminated,
  waitUntilKeyPairExists,
} from "@aws-sdk/client-ec2";

const ImageId = process.env.DEMO_AMI;
const client = new EC2Client({});
const patience = { client, maxWaitTime: 90, minDelay: 1, maxDelay: 2 };

async function collect(pages, items) {
  const found = { pages: 0, items: [] };
  for await (const page of pages) {
    found.pages += 1;
    found.items.push(...items(page));
  }
  return found;
}

async function discover() {
  const { Regions } = await client.send(new DescribeRegionsCommand({}));
  const { Images } = await client.send(new DescribeImagesCommand({ ImageIds: [ImageId] }));
  await waitUntilImageAvailable(patience, { ImageIds: [ImageId] });
  const types = await collect(
    paginateDescribeInstanceTypes({ client, pageSize: 5 }, {}),
    (page) => page.InstanceTypes.map((type) => type.InstanceType),
  );
  return {
    regions: Regions.map((region) => region.RegionName),
    images: Images.map((image) => [image.ImageId, image.State, image.CreationDate]),
    types,
  };
}

async function console_of(InstanceId, text) {
  const limit = Date.now() + 90_000;
  for (;;) {
    const { Output } = await client.send(new GetConsoleOutputCommand({ InstanceId, Latest: true }));
    const said = Buffer.from(Output ?? "", "base64").toString();
    if (said.includes(text) || Date.now() > limit) return said;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

async function machine(name) {
  const discovered = await discover();
  const key = await client.send(new CreateKeyPairCommand({ KeyName: name, KeyType: "ed25519" }));
  await waitUntilKeyPairExists(patience, { KeyNames: [name] });
  const request = {
    ImageId,
    InstanceType: "small",
    MinCount: 1,
    MaxCount: 1,
    KeyName: name,
    UserData: Buffer.from("#!/bin/sh\necho javascript-says $((6 * 7))\n").toString("base64"),
    ClientToken: name,
    TagSpecifications: [
      { ResourceType: "instance", Tags: [{ Key: "Name", Value: name }, { Key: "Größe", Value: "1+1 & 2" }] },
    ],
  };
  const launched = await client.send(new RunInstancesCommand(request));
  const again = await client.send(new RunInstancesCommand(request));
  const InstanceIds = launched.Instances.map((instance) => instance.InstanceId);
  const [id] = InstanceIds;
  try {
    const running = await waitUntilInstanceRunning(patience, { InstanceIds });
    await client.send(
      new CreateTagsCommand({ Resources: InstanceIds, Tags: [{ Key: "Later", Value: "" }] }),
    );
    const Filters = [{ Name: "tag:Name", Values: [name] }];
    const described = await collect(
      paginateDescribeInstances({ client, pageSize: 5 }, { Filters }),
      (page) => page.Reservations.flatMap((reservation) => reservation.Instances),
    );
    const tags = await collect(
      paginateDescribeTags({ client }, { Filters: [{ Name: "resource-id", Values: [id] }] }),
      (page) => page.Tags.map((tag) => [tag.Key, tag.Value]),
    );
    const said = await console_of(id, "javascript-says 42");
    return {
      discovered,
      key: { name: key.KeyName, id: key.KeyPairId, material: key.KeyMaterial },
      launched: launched.Instances,
      again: again.Instances.map((instance) => instance.InstanceId),
      running: running.state,
      described: described.items,
      tags: tags.items,
      launch_time_is_a_date: described.items[0].LaunchTime instanceof Date,
      said,
      ...(await terminate(InstanceIds)),
    };
  } finally {
    await client.send(new TerminateInstancesCommand({ InstanceIds }));
    await client.send(new DeleteKeyPairCommand({ KeyName: name }));
  }
}

async function terminate(InstanceIds) {
  const { TerminatingInstances } = await client.send(new TerminateInstancesCommand({ InstanceIds }));
  const terminated = await waitUntilInstanceTerminated(patience, { InstanceIds });
  const { Reservations } = await client.send(new DescribeInstancesCommand({ InstanceIds }));
  return {
    terminating: TerminatingInstances,
    terminated: terminated.state,
    reason: Reservations[0].Instances[0].StateReason,
  };
}

async function errors() {
  const unknown = { ImageId: "ami-0123456789abcdef0", MinCount: 1, MaxCount: 1 };
  const stranger = new EC2Client({
    credentials: { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: "not the secret" },
  });
  const attempts = {
    "unknown instance": [client, new DescribeInstancesCommand({ InstanceIds: ["i-0123456789abcdef0"] })],
    "malformed instance": [client, new TerminateInstancesCommand({ InstanceIds: ["foobar"] })],
    "unknown image": [client, new RunInstancesCommand(unknown)],
    "dry run": [client, new RunInstancesCommand({ ...unknown, ImageId, DryRun: true })],
    "wrong secret": [stranger, new DescribeInstancesCommand({})],
  };
  const outcomes = {};
  for (const [what, [by, command]] of Object.entries(attempts)) {
    outcomes[what] = await by.send(command).then(
      () => ({ name: "no error" }),
      (error) => ({
        name: error.name,
        message: error.message,
        status: error.$metadata?.httpStatusCode,
        request_id: error.$metadata?.requestId,
        of_the_service: error instanceof EC2ServiceException,
      }),
    );
  }
  return outcomes;
}

const [what, ...words] = process.argv.slice(2);
console.log(JSON.stringify(await { machine, errors }[what](...words)));
